//! Writes the manual pages and the shell completions of both programs, from the command lines as they are:
//!
//!     cargo run --example manual -- FOLDER
//!
//! An example and not a part of `build.rs`, which cannot see the crate's own command lines; nor of the programs, which
//! need not carry what only a package is made of.

mod completions;
mod pages;
mod settings;
mod words;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A file to be written, its path relative to the folder.
struct Made {
    path: PathBuf,
    bytes: Vec<u8>,
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let (Some(folder), None) = (args.next(), args.next()) else {
        eprintln!("usage: cargo run --example manual -- FOLDER");
        return ExitCode::from(2);
    };
    let folder = Path::new(&folder);
    for file in pages::all().into_iter().chain(completions::all()) {
        let path = folder.join(&file.path);
        let parent = path.parent().unwrap_or(folder);
        if let Err(error) = fs::create_dir_all(parent).and_then(|()| fs::write(&path, &file.bytes)) {
            eprintln!("manual: cannot write {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
