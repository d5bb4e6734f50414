//! Formats floating point numbers as .NET does: with the fewest digits that read back as the same number. An exponent
//! is used if the number is below 0.0001, or if it has more digits before the point than both the shortest form and the
//! precision of the type (`1E+21`, `1.5E-07`: tests/probes/FINDINGS.md#2, "Hub protocol").

use std::io::Write as _;

/// Numbers with up to this many digits before the point are written without an exponent, even if the shortest form has
/// fewer digits.
const F64_DIGITS: i32 = 15;
const F32_DIGITS: i32 = 7;

pub(crate) fn write_f64(out: &mut Vec<u8>, float: f64) {
    write(out, &format!("{float:e}"), F64_DIGITS);
}

pub(crate) fn write_f32(out: &mut Vec<u8>, float: f32) {
    write(out, &format!("{float:e}"), F32_DIGITS);
}

/// Converts Rust's shortest form, such as `-1.5e-7`.
fn write(out: &mut Vec<u8>, shortest: &str, precision: i32) {
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let unsigned = mantissa.strip_prefix('-').unwrap_or(mantissa);
    if unsigned.len() < mantissa.len() {
        out.push(b'-');
    }
    let (first, rest) = unsigned.split_at(1);
    let rest = rest.strip_prefix('.').unwrap_or(rest).as_bytes();
    // The number of digits before the point.
    let scale = exponent + 1;
    let digits = 1 + rest.len() as i32;
    if scale > digits.max(precision) || scale < -3 {
        out.extend_from_slice(first.as_bytes());
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        // Writing to a Vec does not fail.
        let _ = write!(out, "E{sign}{:02}", exponent.unsigned_abs());
    } else if scale <= 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', scale.unsigned_abs() as usize));
        out.extend_from_slice(first.as_bytes());
        out.extend_from_slice(rest);
    } else {
        let before = (scale - 1) as usize;
        out.extend_from_slice(first.as_bytes());
        out.extend_from_slice(&rest[..before.min(rest.len())]);
        out.extend(std::iter::repeat_n(b'0', before.saturating_sub(rest.len())));
        if rest.len() > before {
            out.push(b'.');
            out.extend_from_slice(&rest[before..]);
        }
    }
}
