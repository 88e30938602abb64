//! The story in the terminal.

use std::io::{self, Write as _};

use crate::trace::Trace;

/// Tells steps, what was said, and what each function did meanwhile, line by line.
pub struct Show<'w> {
    trace: &'w Trace,
    tell: Box<dyn FnMut(&str) + 'w>,
    shown: usize,
    steps: usize,
}

impl<'w> Show<'w> {
    /// A story about the functions that `trace` watches, told to `tell`.
    pub fn new(trace: &'w Trace, tell: impl FnMut(&str) + 'w) -> Self {
        Self { trace, tell: Box::new(tell), shown: trace.len(), steps: 0 }
    }

    /// Begins the next step.
    pub(crate) fn step(&mut self, what: &str) {
        self.steps += 1;
        let title = format!("\n{}. {what}", self.steps);
        (self.tell)(&title);
    }

    /// Something said or shown; longer texts keep their lines.
    pub(crate) fn says(&mut self, who: &str, what: &str) {
        let mut lines = what.lines();
        (self.tell)(&format!("   {who:>6} │ {}", lines.next().unwrap_or_default()));
        for more in lines {
            (self.tell)(&format!("          │ {more}"));
        }
    }

    /// What the functions did since this was last asked.
    pub(crate) fn functions(&mut self) {
        let invocations = self.trace.all();
        for done in invocations.iter().skip(self.shown) {
            let call = format!("{:<18} {}", done.function, done.what);
            (self.tell)(&format!("          · {call:<72} → {} ({} ms)", done.outcome, done.millis));
        }
        self.shown = invocations.len();
    }
}

/// Prints a line; a closed terminal is no reason to stop.
pub(crate) fn line(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}
