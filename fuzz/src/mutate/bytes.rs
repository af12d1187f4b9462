//! Changes that know nothing of an input's form, and the random numbers for all.

use super::{LONGEST, Source};

/// Random numbers: SplitMix64 (Steele et al. 2014, doi 10.1145/2660193.2660195).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Those of one mutation of a target.
    pub fn new(target: &str, seed: u64, number: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(target.as_bytes());
        hasher.update(&seed.to_le_bytes());
        hasher.update(&number.to_le_bytes());
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        Self(u64::from_le_bytes(first))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if there is none.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.bits() % bound as u64) as usize }
    }

    /// A small number more often than a large one, below `bound`.
    pub fn small(&mut self, bound: usize) -> usize {
        let bound = 1 + self.below(bound.max(1));
        self.below(bound)
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }
}

/// Numbers at which something changes: a sign, a width, a limit.
pub(super) const BOUNDARIES: [u64; 30] = [
    0,
    1,
    2,
    3,
    7,
    8,
    16,
    63,
    64,
    100,
    127,
    128,
    255,
    256,
    1000,
    4096,
    32_767,
    65_535,
    65_536,
    1 << 20,
    1 << 24,
    (1 << 24) + 1,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    1 << 53,
    1 << 62,
    (1 << 63) - 1,
    u64::MAX,
];

/// One of several changes.
pub(super) fn change(random: &mut Random, mut input: Vec<u8>, source: &Source) -> Vec<u8> {
    let at = random.below(input.len() + 1);
    let (start, end) = range(random, input.len());
    match random.below(15) {
        0 | 1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        2 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = random.bits() as u8;
            }
        }
        3 => {
            let values = [0, 1, 0x7f, 0x80, 0xff, b'\n', b'"', b'='];
            if let (Some(byte), Some(&value)) = (input.get_mut(at), random.pick(&values)) {
                *byte = value;
            }
        }
        // A number of the encoding that Postcard and Parquet's metadata use, by one of any length.
        13 | 14 => {
            let length = input[at..].iter().position(|byte| byte & 0x80 == 0);
            let end = length.map_or(at, |length| at + length + 1);
            let number = boundary(random);
            input.splice(at..end, varint(number));
        }
        4 | 5 => {
            let number = number(random);
            let end = (at + number.len()).min(input.len());
            input.splice(at..end, number);
        }
        6 => {
            input.drain(start..end);
        }
        7 => {
            let part = input[start..end].to_vec();
            let times = 1 + random.small(32).min(LONGEST / (part.len() + 1));
            input.splice(at..at, part.repeat(times));
        }
        8 => {
            let new: Vec<u8> = (0..1 + random.small(16)).map(|_| random.bits() as u8).collect();
            input.splice(at..at, new);
        }
        9 => input.truncate(at),
        10 => {
            let other = random.pick(source.corpus).copied().unwrap_or_default();
            let (from, to) = range(random, other.len());
            input.splice(start..end, other[from..to].iter().copied());
        }
        11 => {
            let word = random.pick(source.words).copied().unwrap_or_default();
            let end = if random.one_in(2) { at } else { (at + word.len()).min(input.len()) };
            input.splice(at..end, word.bytes());
        }
        _ => {
            let byte = random.bits() as u8;
            input[start..end].fill(byte);
        }
    }
    input
}

/// A part of so many bytes, short more often than long.
fn range(random: &mut Random, length: usize) -> (usize, usize) {
    let start = random.below(length + 1);
    let longest = if random.one_in(8) { length - start } else { (length - start).min(64) };
    (start, start + random.small(longest + 1).min(length - start))
}

/// A number at a boundary, or one beside it.
fn boundary(random: &mut Random) -> u64 {
    let number = random.pick(&BOUNDARIES).copied().unwrap_or(0);
    number.wrapping_add(random.below(3) as u64).wrapping_sub(1)
}

/// The same in some encoding.
fn number(random: &mut Random) -> Vec<u8> {
    let number = boundary(random);
    let mut bytes = number.to_le_bytes().to_vec();
    match random.below(7) {
        0 => bytes.truncate(1),
        1 => bytes.truncate(2),
        2 => bytes.truncate(4),
        3 => {}
        4 => bytes.reverse(),
        5 => return f64::from_bits(number).to_le_bytes().to_vec(),
        _ => bytes = varint(number),
    }
    bytes
}

/// The encoding of postcard and of Parquet's metadata.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
