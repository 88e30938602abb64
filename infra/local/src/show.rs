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

    /// A story that nobody hears.
    pub(crate) fn silent(trace: &'w Trace) -> Self {
        Self::new(trace, |_| {})
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

    /// What something cost.
    pub(crate) fn counts(&mut self, what: &str, azure: usize, table: usize) {
        (self.tell)(&format!("          · {what}: {azure} calls to Azure, {table} requests to the table"));
    }

    /// A list of things.
    pub(crate) fn inventory(&mut self, what: &str, things: &[String]) {
        let nothing = if things.is_empty() { " nothing" } else { "" };
        (self.tell)(&format!("          = {what}:{nothing}"));
        for thing in things {
            (self.tell)(&format!("            {thing}"));
        }
    }

    /// What the functions did since this was last asked; what was done several times is one line.
    pub(crate) fn functions(&mut self) {
        let invocations = self.trace.all();
        let mut calls: Vec<(String, u32, u128)> = Vec::new();
        for done in invocations.iter().skip(self.shown) {
            let call = format!("{:<18} {:<72} → {}", done.function, done.what, done.outcome);
            match calls.iter_mut().find(|(known, ..)| *known == call) {
                Some((_, times, millis)) => {
                    *times += 1;
                    *millis += done.millis;
                }
                None => calls.push((call, 1, done.millis)),
            }
        }
        for (call, times, millis) in calls {
            let times = if times > 1 { format!(" {times}×") } else { String::new() };
            (self.tell)(&format!("          · {call}{times} ({millis} ms)"));
        }
        self.shown = invocations.len();
    }
}

/// Prints a line; a closed terminal is no reason to stop.
pub(crate) fn line(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}
