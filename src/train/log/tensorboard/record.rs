//! TFRecord: the framing of event files.
//!
//! ```text
//!   length u64 │ masked CRC-32C of the length │ data │ masked CRC-32C of the data     (numbers little-endian)
//! ```
//!
//! A checksum is masked since data that hold checksums of their own would otherwise have weak ones:
//! `mask(crc) = (crc >> 15 | crc << 17) + 0xa282ead8` (TensorFlow, `lib/hash/crc32c.h`).

use std::io::{self, Write};

/// Writes one record.
pub(super) fn write(out: &mut impl Write, data: &[u8]) -> io::Result<()> {
    let length = (data.len() as u64).to_le_bytes();
    out.write_all(&length)?;
    out.write_all(&masked(&length).to_le_bytes())?;
    out.write_all(data)?;
    out.write_all(&masked(data).to_le_bytes())
}

fn masked(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CRC-32C bit by bit: the reflected polynomial of Castagnoli.
    fn bitwise(data: &[u8]) -> u32 {
        !data.iter().fold(!0u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0x82f6_3b78 } else { c >> 1 })
        })
    }

    #[test]
    fn checksums_are_the_published_ones() {
        // RFC 3720, appendix B.4, and the usual check of catalogues
        for (data, crc) in [
            (&[0u8; 32][..], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&(0..32).collect::<Vec<u8>>(), 0x46dd_794e),
            (b"123456789", 0xe306_9283),
        ] {
            assert_eq!((crc32c::crc32c(data), bitwise(data)), (crc, crc));
        }
    }

    #[test]
    fn a_record_is_length_checksum_data_checksum() {
        let mut out = Vec::new();
        write(&mut out, b"abc").unwrap();
        // the checksums' upper 17 bits go down, the lower 15 up
        let mask = |crc: u32| (crc / (1 << 15) + crc % (1 << 15) * (1 << 17)).wrapping_add(0xa282_ead8).to_le_bytes();
        let length = [3, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(out, [&length[..], &mask(bitwise(&length)), b"abc", &mask(bitwise(b"abc"))].concat());
    }
}
