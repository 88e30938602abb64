//! The story in the terminal.

use std::io::{self, Write as _};

use crate::trace::Trace;

/// Prints steps, what was said, and what each function did meanwhile.
#[derive(Debug)]
pub(crate) struct Show<'w> {
    trace: &'w Trace,
    shown: usize,
    steps: usize,
}

impl<'w> Show<'w> {
    /// A story about the functions that `trace` watches.
    pub(crate) fn new(trace: &'w Trace) -> Self {
        Self { trace, shown: trace.len(), steps: 0 }
    }

    /// Begins the next step.
    pub(crate) fn step(&mut self, what: &str) {
        self.steps += 1;
        line(&format!("\n{}. {what}", self.steps));
    }

    /// Something said or shown; longer texts keep their lines.
    pub(crate) fn says(&self, who: &str, what: &str) {
        let mut lines = what.lines();
        line(&format!("   {who:>6} │ {}", lines.next().unwrap_or_default()));
        for more in lines {
            line(&format!("          │ {more}"));
        }
    }

    /// What the functions did since this was last asked.
    pub(crate) fn functions(&mut self) {
        let invocations = self.trace.all();
        for done in invocations.iter().skip(self.shown) {
            let call = format!("{:<18} {}", done.function, done.what);
            line(&format!("          · {call:<72} → {} ({} ms)", done.outcome, done.millis));
        }
        self.shown = invocations.len();
    }
}

/// Prints a line; a closed terminal is no reason to stop.
pub(crate) fn line(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}
