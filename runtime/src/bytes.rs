//! Numbers as the bytes that memory holds, without a copy.

mod sealed {
    /// Types without padding and without invalid bit patterns.
    pub trait Plain: Copy {}
    impl Plain for f32 {}
    impl Plain for i32 {}
    impl Plain for u8 {}
}

/// The bytes of `values` in the machine's order: what [`crate::Session::write_work`] and
/// [`crate::State::write`] take.
pub fn bytes_of<T: sealed::Plain>(values: &[T]) -> &[u8] {
    // SAFETY: the types that implement `Plain` have no padding, so every byte is initialised; a byte needs
    // no alignment; the length is that of the same memory.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), std::mem::size_of_val(values)) }
}

#[cfg(test)]
mod tests {
    use super::bytes_of;

    #[test]
    fn bytes_are_those_of_each_number() {
        let values = [1.5_f32, -0.0, f32::NAN];
        let one_by_one: Vec<u8> = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
        assert_eq!(bytes_of(&values), one_by_one);
        assert_eq!(bytes_of(&[-2_i32]), (-2_i32).to_ne_bytes());
        assert_eq!(bytes_of::<u8>(&[]), [0_u8; 0]);
    }
}
