//! Python's pickles, as far as they are data (protocols 2 to 5, <https://peps.python.org/pep-3154/> and
//! CPython's `Lib/pickletools.py`).
//!
//! ```text
//!   bytes ──▶ stack machine ──▶ objects: numbers, texts, lists, dictionaries, tensors of storages
//!                 │ a name of Python code
//!                 └─▶ one of GLOBALS, or the end: nothing is ever run
//! ```
//!
//! A pickle is a program for a stack machine, and one that can call any function of any module. Here it can name
//! what `torch.save` needs for a dictionary of tensors and call three of these, which only put values together.
//! Whatever else it names is refused with its name and place.
//!
//! Objects live in one list and refer to each other by index, so an object that contains itself is harmless. An
//! instruction makes at most one object and copies none, so memory is bounded by the length of the pickle.

use std::collections::HashMap;

/// Index of an object.
pub(super) type Id = usize;

/// A value of a pickle.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Object {
    None,
    Bool(bool),
    /// An integer; `None` for one of more than 64 bits.
    Int(Option<i64>),
    Float(f64),
    Text(String),
    /// Bytes, a set: nothing that a weight file needs.
    Other,
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// One of [`GLOBALS`].
    Global(Global),
    /// `torch.FloatStorage` or another: name of its class, of its file (a text), number of elements.
    Storage(&'static str, Id, u64),
    /// A view of a storage: offset in elements, and two tuples, shape and strides.
    Tensor {
        storage: Id,
        offset: u64,
        shape: Id,
        strides: Id,
    },
}

/// What a pickle may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(&'static str),
}

/// The Python names that are known. None of them is ever looked up, let alone run.
const GLOBALS: [(&str, &str, Global); 13] = [
    ("collections", "OrderedDict", Global::OrderedDict),
    ("torch._utils", "_rebuild_tensor_v2", Global::RebuildTensor),
    ("torch._utils", "_rebuild_parameter", Global::RebuildParameter),
    ("torch", "FloatStorage", Global::Storage("FloatStorage")),
    ("torch", "DoubleStorage", Global::Storage("DoubleStorage")),
    ("torch", "HalfStorage", Global::Storage("HalfStorage")),
    ("torch", "BFloat16Storage", Global::Storage("BFloat16Storage")),
    ("torch", "LongStorage", Global::Storage("LongStorage")),
    ("torch", "IntStorage", Global::Storage("IntStorage")),
    ("torch", "ShortStorage", Global::Storage("ShortStorage")),
    ("torch", "CharStorage", Global::Storage("CharStorage")),
    ("torch", "ByteStorage", Global::Storage("ByteStorage")),
    ("torch", "BoolStorage", Global::Storage("BoolStorage")),
];

/// The most objects of a pickle, which take 64 MB; a network of a thousand tensors has forty thousand.
const MOST_OBJECTS: usize = 1 << 20;

/// What is wrong with a pickle, and at which byte.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) at: usize,
    pub(super) reason: String,
}

/// The objects of a pickle and which of them it stands for.
pub(super) struct Pickle {
    pub(super) objects: Vec<Object>,
    pub(super) root: Id,
}

impl Pickle {
    /// Runs the instructions of a pickle.
    pub(super) fn parse(bytes: &[u8]) -> Result<Pickle, Refusal> {
        let mut machine =
            Machine { bytes, at: 0, objects: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
        loop {
            let at = machine.at;
            match machine.step() {
                Ok(None) if machine.objects.len() > MOST_OBJECTS => {
                    return Err(Refusal { at, reason: format!("has more than {MOST_OBJECTS} objects") });
                }
                Ok(None) => {}
                Ok(Some(root)) => return Ok(Pickle { objects: machine.objects, root }),
                Err(reason) => return Err(Refusal { at, reason }),
            }
        }
    }

    pub(super) fn get(&self, id: Id) -> &Object {
        self.objects.get(id).unwrap_or(&Object::None)
    }

    /// The integers of a tuple of at most `most`, if it is one and none is negative.
    pub(super) fn extents(&self, id: Id, most: usize) -> Option<Vec<usize>> {
        let Object::Tuple(items) = self.get(id) else { return None };
        let extent = |id: &Id| match self.get(*id) {
            Object::Int(Some(value)) => usize::try_from(*value).ok(),
            _ => None,
        };
        if items.len() <= most { items.iter().map(extent).collect() } else { None }
    }
}

struct Machine<'b> {
    bytes: &'b [u8],
    at: usize,
    objects: Vec<Object>,
    stack: Vec<Id>,
    /// Heights of the stack at the marks.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl Machine<'_> {
    /// One instruction; the result at the last one.
    fn step(&mut self) -> Result<Option<Id>, String> {
        let [code] = self.fixed()?;
        match code {
            0x80 => match self.fixed()? {
                [2..=5] => {}
                [version] => return Err(format!("is of protocol {version}; 2 to 5 are read")),
            },
            0x95 => drop(self.number::<8>()?),
            b'.' => return self.pop().map(Some),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.push(Object::None),
            0x88 => self.push(Object::Bool(true)),
            0x89 => self.push(Object::Bool(false)),
            b'J' => {
                let value = i32::from_le_bytes(self.fixed()?);
                self.push(Object::Int(Some(value.into())));
            }
            b'K' => self.small_integer::<1>()?,
            b'M' => self.small_integer::<2>()?,
            0x8a => self.long::<1>()?,
            0x8b => self.long::<4>()?,
            b'G' => {
                let value = f64::from_be_bytes(self.fixed()?);
                self.push(Object::Float(value));
            }
            b'X' => self.text::<4>()?,
            0x8c | b'U' => self.text::<1>()?,
            0x8d => self.text::<8>()?,
            b'T' => self.text::<4>()?,
            b'C' => self.other::<1>()?,
            b'B' => self.other::<4>()?,
            0x8e | 0x96 => self.other::<8>()?,
            b')' => self.push(Object::Tuple(Vec::new())),
            0x85..=0x87 => {
                let start = self.stack.len().checked_sub(usize::from(code - 0x84)).ok_or("pops an empty stack")?;
                self.above_mark(start)?;
                let items = self.stack.split_off(start);
                self.push(Object::Tuple(items));
            }
            b't' => {
                let items = self.pop_mark()?;
                self.push(Object::Tuple(items));
            }
            b']' => self.push(Object::List(Vec::new())),
            b'l' => {
                let items = self.pop_mark()?;
                self.push(Object::List(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.append(&items)?;
            }
            b'}' => self.push(Object::Dict(Vec::new())),
            b'd' => {
                let items = pairs(&self.pop_mark()?)?;
                self.push(Object::Dict(items));
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[(key, value)])?;
            }
            b'u' => {
                let items = pairs(&self.pop_mark()?)?;
                self.set_items(&items)?;
            }
            0x8f => self.push(Object::Other),
            0x90 => {
                self.pop_mark()?;
                self.top()?;
            }
            0x91 => {
                self.pop_mark()?;
                self.push(Object::Other);
            }
            b'q' => self.remember::<1>()?,
            b'r' => self.remember::<4>()?,
            0x94 => {
                let top = self.top()?;
                self.memo.insert(self.memo.len() as u64, top);
            }
            b'h' => self.recall::<1>()?,
            b'j' => self.recall::<4>()?,
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                let object = global(&module, &name)?;
                self.push(object);
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Object::Text(module), Object::Text(name)) = (self.object(module), self.object(name)) else {
                    return Err("names a global by something that is no text".to_string());
                };
                let object = global(module, name)?;
                self.push(object);
            }
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                self.call(function, arguments)?;
            }
            b'b' => self.build()?,
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(storage);
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                return Err(format!("makes an instance of `{module}.{name}`: nothing is run"));
            }
            b'o' | 0x81 | 0x92 => return Err("makes an instance of a class: nothing is run".to_string()),
            other => return Err(format!("has the instruction 0x{other:02x}, which no state dict needs")),
        }
        Ok(None)
    }

    /// Puts the result of a known function on the stack.
    fn call(&mut self, function: Id, arguments: Id) -> Result<(), String> {
        let Object::Tuple(arguments) = self.object(arguments) else { return Err("calls with no tuple".to_string()) };
        let Object::Global(function) = self.object(function) else {
            return Err("calls something that is no function: nothing is run".to_string());
        };
        match (function, &arguments[..]) {
            (Global::OrderedDict, []) => self.push(Object::Dict(Vec::new())),
            (Global::RebuildTensor, &[storage, offset, shape, strides, ..]) => {
                let (Object::Storage(..), Object::Int(Some(offset))) = (self.object(storage), self.object(offset))
                else {
                    return Err("makes a tensor of no storage".to_string());
                };
                let offset = u64::try_from(*offset).map_err(|_| format!("makes a tensor at the offset {offset}"))?;
                self.push(Object::Tensor { storage, offset, shape, strides });
            }
            (Global::RebuildParameter, &[tensor, ..]) => match self.object(tensor) {
                Object::Tensor { .. } => self.stack.push(tensor),
                _ => return Err("makes a parameter of no tensor".to_string()),
            },
            (known, given) => return Err(format!("calls {known:?} with {} arguments", given.len())),
        }
        Ok(())
    }

    /// Attributes of an object: a state dict has `_metadata`, versions of its modules, which are not needed.
    fn build(&mut self) -> Result<(), String> {
        let (state, object) = (self.pop()?, self.top()?);
        match (self.object(object), self.object(state)) {
            (Object::Dict(_), Object::Dict(_)) => Ok(()),
            _ => Err("sets the state of an object: nothing is run".to_string()),
        }
    }

    /// `('storage', torch.FloatStorage, '0', 'cpu', 16)`
    fn storage(&self, id: Id) -> Result<Object, String> {
        let Object::Tuple(parts) = self.object(id) else { return Err("refers to something outside".to_string()) };
        let [kind, class, key, _, count, ..] = parts[..] else { return Err("refers to no storage".to_string()) };
        match [self.object(kind), self.object(class), self.object(key), self.object(count)] {
            [Object::Text(kind), Object::Global(Global::Storage(class)), Object::Text(_), Object::Int(Some(count))]
                if kind == "storage" =>
            {
                let count = u64::try_from(*count).map_err(|_| format!("has a storage of {count} elements"))?;
                Ok(Object::Storage(class, key, count))
            }
            _ => Err("refers to something outside that is no storage".to_string()),
        }
    }

    fn object(&self, id: Id) -> &Object {
        self.objects.get(id).unwrap_or(&Object::None)
    }
    fn push(&mut self, object: Object) {
        self.stack.push(self.objects.len());
        self.objects.push(object);
    }
    /// Nothing below the last mark may be taken without removing the mark.
    fn above_mark(&self, height: usize) -> Result<(), String> {
        if self.marks.last().is_some_and(|&mark| height < mark) { Err("pops a mark".to_string()) } else { Ok(()) }
    }
    fn pop(&mut self) -> Result<Id, String> {
        let id = self.stack.pop().ok_or("pops an empty stack")?;
        self.above_mark(self.stack.len())?;
        Ok(id)
    }
    fn top(&self) -> Result<Id, String> {
        self.stack.last().copied().ok_or_else(|| "needs an object on an empty stack".to_string())
    }
    fn pop_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("has no mark")?;
        Ok(self.stack.split_off(mark))
    }
    fn append(&mut self, new: &[Id]) -> Result<(), String> {
        let list = self.top()?;
        match self.objects.get_mut(list) {
            Some(Object::List(items)) => {
                items.extend_from_slice(new);
                Ok(())
            }
            _ => Err("appends to something that is no list".to_string()),
        }
    }
    fn set_items(&mut self, new: &[(Id, Id)]) -> Result<(), String> {
        let dict = self.top()?;
        match self.objects.get_mut(dict) {
            Some(Object::Dict(items)) => {
                items.extend_from_slice(new);
                Ok(())
            }
            _ => Err("sets items of something that is no dictionary".to_string()),
        }
    }

    fn take(&mut self, count: u64) -> Result<&[u8], String> {
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        let count = usize::try_from(count).ok().filter(|&n| n <= rest.len());
        let count = count.ok_or_else(|| format!("ends early: {} bytes are left", rest.len()))?;
        self.at += count;
        Ok(&rest[..count])
    }
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N as u64)?);
        Ok(bytes)
    }
    /// A little-endian number of `N` bytes without a sign.
    fn number<const N: usize>(&mut self) -> Result<u64, String> {
        Ok(self.fixed::<N>()?.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte)))
    }
    fn small_integer<const N: usize>(&mut self) -> Result<(), String> {
        let value = self.number::<N>()? as i64;
        self.push(Object::Int(Some(value)));
        Ok(())
    }
    /// A little-endian integer in two's complement, with its length before it.
    fn long<const N: usize>(&mut self) -> Result<(), String> {
        let length = self.number::<N>()?;
        let bytes = self.take(length)?;
        let sign = if bytes.last().is_some_and(|&byte| byte >= 0x80) { -1 } else { 0 };
        let value = (bytes.len() <= 8).then(|| bytes.iter().rev().fold(sign, |n: i64, &byte| n << 8 | i64::from(byte)));
        self.push(Object::Int(value));
        Ok(())
    }
    fn text<const N: usize>(&mut self) -> Result<(), String> {
        let length = self.number::<N>()?;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.push(Object::Text(text));
        Ok(())
    }
    fn other<const N: usize>(&mut self) -> Result<(), String> {
        let length = self.number::<N>()?;
        self.take(length)?;
        self.push(Object::Other);
        Ok(())
    }
    fn line(&mut self) -> Result<String, String> {
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        let length = rest.iter().position(|&byte| byte == b'\n').ok_or("has a name without an end")?;
        self.at += length + 1;
        Ok(String::from_utf8_lossy(&rest[..length]).into_owned())
    }
    fn remember<const N: usize>(&mut self) -> Result<(), String> {
        let (key, top) = (self.number::<N>()?, self.top()?);
        self.memo.insert(key, top);
        Ok(())
    }
    fn recall<const N: usize>(&mut self) -> Result<(), String> {
        let key = self.number::<N>()?;
        let id = *self.memo.get(&key).ok_or_else(|| format!("recalls the object {key}, which it never stored"))?;
        self.stack.push(id);
        Ok(())
    }
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, String> {
    match items.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
        _ => Err("has a key without a value".to_string()),
    }
}

fn global(module: &str, name: &str) -> Result<Object, String> {
    match GLOBALS.iter().find(|(m, n, _)| *m == module && *n == name) {
        Some((_, _, global)) => Ok(Object::Global(*global)),
        None => Err(format!(
            "names `{}.{}`, which is refused: only dictionaries of tensors and plain values are read, and nothing is \
             run (in PyTorch, save `model.state_dict()`)",
            shown(module),
            shown(name)
        )),
    }
}

/// A name as it may stand in a message.
fn shown(name: &str) -> String {
    name.chars().take(80).flat_map(char::escape_debug).collect()
}
