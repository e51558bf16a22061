//! A reader of event files that shares nothing with their writer: records checked bit by bit, protobuf by wire types.

/// The data of each record of a file.
pub fn records(mut file: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while !file.is_empty() {
        let (head, rest) = file.split_at(12);
        let length = u64::from_le_bytes(head[..8].try_into().unwrap()) as usize;
        assert_eq!(head[8..], masked_crc(&head[..8]), "checksum of a length");
        let (data, rest) = rest.split_at(length);
        let (crc, rest) = rest.split_at(4);
        assert_eq!(crc, masked_crc(data), "checksum of a record");
        records.push(data.to_vec());
        file = rest;
    }
    records
}

/// CRC-32C bit by bit, masked as TFRecord has it.
fn masked_crc(data: &[u8]) -> [u8; 4] {
    let crc = !data.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| if c & 1 == 1 { (c >> 1) ^ 0x82f6_3b78 } else { c >> 1 })
    });
    (crc / (1 << 15) + crc % (1 << 15) * (1 << 17)).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// What stands at a field's number in a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    Varint(u64),
    Double(f64),
    Float(f32),
    Bytes(Vec<u8>),
}

/// A message as a list of (number, field).
#[derive(Clone, Debug, PartialEq)]
pub struct Message(pub Vec<(u64, Field)>);

impl Message {
    pub fn parse(mut data: &[u8]) -> Message {
        let mut fields = Vec::new();
        while !data.is_empty() {
            let key = varint(&mut data);
            let field = match key & 7 {
                0 => Field::Varint(varint(&mut data)),
                1 => Field::Double(f64::from_le_bytes(take(&mut data, 8).try_into().unwrap())),
                2 => {
                    let length = varint(&mut data) as usize;
                    Field::Bytes(take(&mut data, length).to_vec())
                }
                5 => Field::Float(f32::from_le_bytes(take(&mut data, 4).try_into().unwrap())),
                wire => panic!("wire type {wire}"),
            };
            fields.push((key >> 3, field));
        }
        Message(fields)
    }

    /// All fields of a number.
    pub fn all(&self, number: u64) -> impl Iterator<Item = &Field> {
        self.0.iter().filter(move |(n, _)| *n == number).map(|(_, field)| field)
    }
    pub fn bytes(&self, number: u64) -> &[u8] {
        match self.all(number).next() {
            Some(Field::Bytes(bytes)) => bytes,
            other => panic!("field {number} is {other:?}"),
        }
    }
    pub fn text(&self, number: u64) -> &str {
        std::str::from_utf8(self.bytes(number)).unwrap()
    }
    pub fn message(&self, number: u64) -> Message {
        Message::parse(self.bytes(number))
    }
    pub fn messages(&self, number: u64) -> Vec<Message> {
        let parse = |field: &Field| match field {
            Field::Bytes(bytes) => Message::parse(bytes),
            other => panic!("field {number} is {other:?}"),
        };
        self.all(number).map(parse).collect()
    }
    /// 0 when it is not there, as protobuf has it.
    pub fn integer(&self, number: u64) -> u64 {
        match self.all(number).next() {
            None => 0,
            Some(Field::Varint(value)) => *value,
            other => panic!("field {number} is {other:?}"),
        }
    }
    /// 0 when it is not there.
    pub fn double(&self, number: u64) -> f64 {
        match self.all(number).next() {
            None => 0.0,
            Some(Field::Double(value)) => *value,
            other => panic!("field {number} is {other:?}"),
        }
    }
    /// Packed doubles.
    pub fn doubles(&self, number: u64) -> Vec<f64> {
        self.bytes(number).chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
    }
}

fn varint(data: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = take(data, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

fn take<'a>(data: &mut &'a [u8], bytes: usize) -> &'a [u8] {
    let (taken, rest) = data.split_at(bytes);
    *data = rest;
    taken
}
