//! Any bytes are an order or are refused, and an order that was understood is understood again.
#![no_main]

use knockd::wire::Order;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(Some((order, length))) = Order::decode(data) {
        assert!(length <= data.len());
        let again = Order::decode(&order.encode());
        // Host bits of a network and the checksum of their bytes are not kept.
        assert!(matches!(again, Ok(Some(_))));
    }
});
