//! Text of a fixed size, because the node's state may hold no pointers.

/// At most `N` bytes of UTF-8; longer text is cut at a character.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Text<const N: usize> {
    length: u32,
    bytes: [u8; N],
}

impl<const N: usize> Text<N> {
    /// No text.
    pub const EMPTY: Self = Self { length: 0, bytes: [0; N] };

    /// Holds as much of `text` as fits.
    pub fn new(text: &str) -> Self {
        let mut end = text.len().min(N);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut held = Self::EMPTY;
        held.bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        held.length = u32::try_from(end).unwrap_or(0);
        held
    }

    /// The text; empty if the bytes are not text (a damaged file).
    pub fn as_str(&self) -> &str {
        let end = usize::try_from(self.length).unwrap_or(N).min(N);
        std::str::from_utf8(&self.bytes[..end]).unwrap_or("")
    }
}

impl<const N: usize> std::fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(f)
    }
}

impl<const N: usize> std::fmt::Display for Text<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(f)
    }
}
