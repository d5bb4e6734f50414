//! Floating point numbers as .NET writes them: the shortest digits that read back the same; with an exponent when the
//! number is below 0.0001 or has more digits before the point than both are shown and the type holds for sure
//! (`1E+21`, `1.5E-07`: tests/probes/FINDINGS.md#2, "Hub protocol").

use std::io::Write as _;

/// Digits before the point up to which a number is written out, however few digits it has.
const F64_DIGITS: i32 = 15;
const F32_DIGITS: i32 = 7;

pub(crate) fn write_f64(out: &mut Vec<u8>, float: f64) {
    write(out, &format!("{float:e}"), F64_DIGITS);
}

pub(crate) fn write_f32(out: &mut Vec<u8>, float: f32) {
    write(out, &format!("{float:e}"), F32_DIGITS);
}

/// Rewrites Rust's shortest form, `-1.5e-7`.
fn write(out: &mut Vec<u8>, shortest: &str, precision: i32) {
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let unsigned = mantissa.strip_prefix('-').unwrap_or(mantissa);
    if unsigned.len() < mantissa.len() {
        out.push(b'-');
    }
    let (first, rest) = unsigned.split_at(1);
    let rest = rest.strip_prefix('.').unwrap_or(rest).as_bytes();
    // How many digits stand before the point.
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
