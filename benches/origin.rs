//! The six rows of the origin.

fn main() {}
