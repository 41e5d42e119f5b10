//! Little-endian numbers of formats: read at an offset, appended to a structure.
//!
//! Reading never fails: what the bytes lack is zeros. Leaves it to each format whether a structure may be that short.

/// Number at an offset; bytes beyond the end read as 0.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u64_of::<2>(bytes, at) as u16
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u64_of::<4>(bytes, at) as u32
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64_of::<8>(bytes, at)
}

fn u64_of<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..).unwrap_or_default();
    bytes.iter().take(N).rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The byte at an offset; 0 beyond the end.
pub(crate) fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or_default()
}

/// 16 bytes at an offset, such as a UUID; zeros beyond the end.
pub(crate) fn uuid_at(bytes: &[u8], at: usize) -> [u8; 16] {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default()
}

/// A structure that is being encoded, field by field.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(pub(crate) Vec<u8>);

impl Fields {
    /// Appends numbers of 8 bytes.
    pub(crate) fn u64s(mut self, numbers: &[u64]) -> Self {
        numbers.iter().for_each(|number| self.0.extend(number.to_le_bytes()));
        self
    }

    /// Appends numbers of 4 bytes.
    pub(crate) fn u32s(mut self, numbers: &[u32]) -> Self {
        numbers.iter().for_each(|number| self.0.extend(number.to_le_bytes()));
        self
    }

    /// Appends numbers of 2 bytes.
    pub(crate) fn u16s(mut self, numbers: &[u16]) -> Self {
        numbers.iter().for_each(|number| self.0.extend(number.to_le_bytes()));
        self
    }

    /// Appends bytes.
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// Appends zeros.
    pub(crate) fn zeros(mut self, count: usize) -> Self {
        self.0.resize(self.0.len() + count, 0);
        self
    }

    /// Appends zeros up to a length.
    pub(crate) fn up_to(mut self, length: usize) -> Self {
        self.0.resize(length, 0);
        self
    }
}
