//! Whatever asks for metrics over HTTP is answered; a request that is fit for the address is fit for the
//! socket.
#![no_main]

use knockd::metrics::server::{Wanted, parse_request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let at_socket = parse_request(data, false);
    match parse_request(data, true) {
        refused @ Wanted::Refused(status, text) => {
            assert!(status.starts_with('4') && text.ends_with('\n'));
            assert!(status.starts_with("403") || at_socket == refused);
        }
        wanted => assert_eq!(at_socket, wanted),
    }
});
