//! The table of figures, bars and verdicts.
#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

use std::process::ExitCode;

/// Figures in the order they were measured.
#[derive(Default)]
pub(crate) struct Report {
    missed: u32,
}

impl Report {
    /// A heading above the figures that follow.
    pub(crate) fn section(&mut self, title: &str) {
        println!("\n{title}");
    }

    /// A figure that is only reported.
    pub(crate) fn figure(&mut self, name: &str, figure: &str) {
        println!("  {name:<44} {figure:>24}");
    }

    /// A figure that must not exceed `bar`, in the same unit.
    pub(crate) fn at_most(&mut self, name: &str, figure: f64, bar: f64, unit: &str) {
        let verdict = if figure <= bar { "ok" } else { "MISSED" };
        self.missed += u32::from(figure > bar);
        let figure = format!("{figure:.2} {unit}");
        println!("  {name:<44} {figure:>24}   bar {bar} {unit}: {verdict}");
    }

    /// Success, unless a bar was missed.
    pub(crate) fn verdict(&self) -> ExitCode {
        match self.missed {
            0 => {
                println!("\nEvery bar is kept.");
                ExitCode::SUCCESS
            }
            missed => {
                println!("\n{missed} bar(s) missed.");
                ExitCode::FAILURE
            }
        }
    }
}
