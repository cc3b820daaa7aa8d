//! Any line is a request or has an error that can be answered in one line; what is a request is read again
//! from the line that it is written as, and so is the answer.
#![no_main]

use knockd::control::{Answer, Code, MAX_REQUEST, parse_answer, parse_request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let line = data.get(..MAX_REQUEST).unwrap_or(data);
    for first in [true, false] {
        match parse_request(line, first) {
            Ok(request) => {
                let again = request.to_line();
                let again = again.strip_suffix('\n').expect("one line");
                assert_eq!(parse_request(again.as_bytes(), true), Ok(request));
            }
            Err(error) => {
                let answer = Answer::error(Code::BadRequest, error.to_string());
                let text = answer.to_line();
                assert_eq!(text.matches('\n').count(), 1);
                let read = parse_answer(text.as_bytes()).expect("an answer");
                assert_eq!(read, answer);
            }
        }
    }
    if let Ok(answer) = parse_answer(line) {
        let again = parse_answer(answer.to_line().as_bytes()).expect("an answer");
        assert_eq!(again, answer);
    }
});
