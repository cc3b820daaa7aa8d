//! Base64 (RFC 4648, section 4), padded, as OpenSSH writes keys.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The text of `bytes`.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let at = |n| u32::from(part.get(n).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for n in 0..4 {
            let digit = usize::try_from(bits >> (18 - 6 * n) & 0x3f).unwrap_or(0);
            let digit = DIGITS.get(digit).filter(|_| n <= part.len());
            text.push(digit.map_or('=', |digit| char::from(*digit)));
        }
    }
    text
}

/// The bytes of a text, if it is exactly what [`encode`] writes of them.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut have) = (0_u32, 0_u32);
    for c in text.trim_end_matches('=').bytes() {
        let digit = DIGITS.iter().position(|digit| *digit == c)?;
        bits = bits << 6 | u32::try_from(digit).ok()?;
        have += 6;
        if have >= 8 {
            have -= 8;
            bytes.push(u8::try_from(bits >> have & 0xff).ok()?);
            bits &= (1 << have) - 1;
        }
    }
    (encode(&bytes) == text).then_some(bytes)
}

/// The fingerprint of a public key as `ssh-keygen -l` writes it.
#[must_use]
pub fn fingerprint(sha256: &[u8]) -> String {
    format!("SHA256:{}", encode(sha256).trim_end_matches('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()));
        }
        for wrong in ["Zg", "Zh==", "Z", "Zg===", "Z g=", "Zm8=\n"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}
