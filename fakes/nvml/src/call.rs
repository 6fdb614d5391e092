//! The frame of every export, because neither a panic nor a wild pointer may cross the C boundary.

use std::ffi::{CStr, c_char, c_uint};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nvml_wrapper_sys::bindings::{
    nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE as INSUFFICIENT_SIZE,
    nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID_ARGUMENT,
    nvmlReturn_enum_NVML_ERROR_UNKNOWN as UNKNOWN, nvmlReturn_enum_NVML_SUCCESS as SUCCESS, nvmlReturn_t,
};

/// What an export's body gives: nothing, or NVML's code of the error.
pub(crate) type Answer<T = ()> = Result<T, nvmlReturn_t>;

/// Defines one exported function: the body answers `Ok(())` or NVML's error code.
macro_rules! export {
    ($(#[$meta:meta])* fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        ///
        /// # Safety
        /// As in NVML: every pointer is null or valid for what the function reads or writes.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $kind),*) -> nvml_wrapper_sys::bindings::nvmlReturn_t {
            crate::call::guarded(move || $body)
        }
    };
}
pub(crate) use export;

/// Runs a body; a panic becomes NVML_ERROR_UNKNOWN.
pub(crate) fn guarded(body: impl FnOnce() -> Answer) -> nvmlReturn_t {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => SUCCESS,
        Ok(Err(code)) => code,
        Err(_) => UNKNOWN,
    }
}

/// Writes an answer through a caller's pointer; null is an invalid argument.
pub(crate) fn put<T>(place: *mut T, value: T) -> Answer {
    if place.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    // SAFETY: not null, and NVML's contract says it is valid for one `T`.
    unsafe { place.write(value) };
    Ok(())
}

/// Reads a caller's value; null is an invalid argument.
pub(crate) fn get<T: Copy>(place: *const T) -> Answer<T> {
    if place.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    // SAFETY: not null, and NVML's contract says it holds one `T`.
    Ok(unsafe { place.read() })
}

/// Writes text and its final zero into a caller's buffer of `length` bytes.
pub(crate) fn put_text(buffer: *mut c_char, length: c_uint, text: &str) -> Answer {
    if buffer.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    if text.len() >= length as usize {
        return Err(INSUFFICIENT_SIZE);
    }
    // SAFETY: not null, `length` bytes by NVML's contract, and the text with its zero fits.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), buffer, text.len());
        buffer.add(text.len()).write(0);
    }
    Ok(())
}

/// Reads a caller's text.
pub(crate) fn get_text<'a>(text: *const c_char) -> Answer<&'a str> {
    if text.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    // SAFETY: not null, and NVML's contract says it ends with a zero.
    unsafe { CStr::from_ptr(text) }.to_str().map_err(|_| INVALID_ARGUMENT)
}

/// Answers a caller's list with NVML's counting protocol: `count` comes in as room and goes out as what
/// there is; too little room is INSUFFICIENT_SIZE.
pub(crate) fn put_list<T>(count: *mut c_uint, places: *mut T, items: Vec<T>) -> Answer {
    let room = get(count)?;
    let there = c_uint::try_from(items.len()).map_err(|_| UNKNOWN)?;
    put(count, there)?;
    if there > room {
        return Err(INSUFFICIENT_SIZE);
    }
    if there == 0 {
        return Ok(());
    }
    if places.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    // SAFETY: not null, and NVML's contract gives room for `room` items, of which `there` are written.
    unsafe { std::ptr::copy_nonoverlapping(items.as_ptr(), places, items.len()) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_unknown_error() {
        assert_eq!(guarded(|| panic!("the reason of this test")), UNKNOWN);
        assert_eq!(guarded(|| Err(INVALID_ARGUMENT)), INVALID_ARGUMENT);
        assert_eq!(guarded(|| Ok(())), SUCCESS);
    }

    #[test]
    fn null_is_an_invalid_argument() {
        assert_eq!(put(std::ptr::null_mut::<u32>(), 1), Err(INVALID_ARGUMENT));
        assert_eq!(get(std::ptr::null::<u32>()), Err(INVALID_ARGUMENT));
        assert_eq!(get_text(std::ptr::null()), Err(INVALID_ARGUMENT));
        assert_eq!(put_text(std::ptr::null_mut(), 9, "x"), Err(INVALID_ARGUMENT));
    }

    #[test]
    fn text_needs_room_for_its_final_zero() {
        let mut buffer = [1_u8.cast_signed(); 4];
        assert_eq!(put_text(buffer.as_mut_ptr(), 3, "abc"), Err(INSUFFICIENT_SIZE));
        assert_eq!(put_text(buffer.as_mut_ptr(), 4, "abc"), Ok(()));
        assert_eq!(get_text(buffer.as_ptr()), Ok("abc"));
    }

    #[test]
    fn a_list_says_how_much_room_it_needs() {
        let mut count = 1;
        let mut places = [0, 0];
        assert_eq!(put_list(&raw mut count, std::ptr::null_mut(), vec![7, 8]), Err(INSUFFICIENT_SIZE));
        assert_eq!(count, 2);
        assert_eq!(put_list(&raw mut count, places.as_mut_ptr(), vec![7, 8]), Ok(()));
        assert_eq!(places, [7, 8]);
        assert_eq!(put_list::<u32>(&raw mut count, std::ptr::null_mut(), Vec::new()), Ok(()));
        assert_eq!(count, 0);
    }
}
