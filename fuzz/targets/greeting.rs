//! The greeting, in whatever pieces it comes: both sides give up as soon as it cannot become one, and not before.
#![no_main]

use ipcd::internals::protocol::{GREETING_LEN, Greeting};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let alive = |n: usize| Greeting::may_start_with(&data[..n]);
    for n in 1..=data.len().min(GREETING_LEN) {
        assert!(alive(n - 1) || !alive(n), "more bytes cannot make an invalid greeting valid");
    }
    let Some(bytes) = data.first_chunk::<GREETING_LEN>() else { return };
    match Greeting::from_bytes(bytes) {
        Ok(greeting) => {
            assert!(alive(GREETING_LEN));
            assert_eq!(Greeting::from_bytes(&greeting.to_bytes()), Ok(greeting));
            assert_eq!(greeting.accept().is_ok(), greeting == Greeting::OURS);
        }
        Err(error) => {
            assert!(!alive(GREETING_LEN));
            assert!(!error.to_string().contains('\0'), "a peer's bytes are shown escaped");
        }
    }
});
