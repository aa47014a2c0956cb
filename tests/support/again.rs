//! A test in a process of its own.

use std::process::Command;

/// Returns the command that runs one test of this binary in a new process: `module` is its `module_path!()`.
///
/// A name that no test has runs none, and that succeeds: a caller waits for something that its test does.
pub fn again(module: &str, test: &str) -> Command {
    let (_, module) = module.split_once("::").expect("a module of the binary");
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", "--nocapture", &format!("{module}::{test}")]);
    command
}
