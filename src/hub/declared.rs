//! A hub made of configuration (design.md section 3).
