//! Fuzz target: conversion of values. The input is a byte that selects the protocol, then the value.
#![no_main]

use hubplane::Protocol;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((choice, value)) = data.split_first() {
        hubplane_fuzz::conversion(Protocol::ALL[usize::from(choice & 1)], value);
    }
});
