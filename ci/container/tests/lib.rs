//! Cargo wants a target that is not a test; all is in `image.rs`.
