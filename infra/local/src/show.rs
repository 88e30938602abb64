//! Prints the story in the terminal.

use std::io::{self, Write as _};

use crate::trace::Trace;

/// Prints the story's steps, what was said, and what each function did meanwhile, line by line.
pub struct Show<'w> {
    trace: &'w Trace,
    print: Box<dyn FnMut(&str) + 'w>,
    /// How many invocations of the trace were printed.
    printed: usize,
    steps: usize,
}

impl<'w> Show<'w> {
    /// A story about the functions that `trace` records; `print` gets each of its lines.
    pub fn new(trace: &'w Trace, print: impl FnMut(&str) + 'w) -> Self {
        Self { trace, print: Box::new(print), printed: trace.len(), steps: 0 }
    }

    /// A story that is printed nowhere.
    pub(crate) fn silent(trace: &'w Trace) -> Self {
        Self::new(trace, |_| {})
    }

    /// Prints the title of the next step.
    pub(crate) fn step(&mut self, title: &str) {
        self.steps += 1;
        let title = format!("\n{}. {title}", self.steps);
        (self.print)(&title);
    }

    /// Prints what somebody says or a page shows; longer texts keep their lines.
    pub(crate) fn says(&mut self, who: &str, text: &str) {
        let mut lines = text.lines();
        (self.print)(&format!("   {who:>6} │ {}", lines.next().unwrap_or_default()));
        for more in lines {
            (self.print)(&format!("          │ {more}"));
        }
    }

    /// Prints how many requests something cost.
    pub(crate) fn print_cost(&mut self, what: &str, azure: usize, table: usize) {
        (self.print)(&format!("          · {what}: {azure} calls to Azure, {table} requests to the table"));
    }

    /// Prints a list under its title.
    pub(crate) fn print_list(&mut self, title: &str, lines: &[String]) {
        let nothing = if lines.is_empty() { " nothing" } else { "" };
        (self.print)(&format!("          = {title}:{nothing}"));
        for line in lines {
            (self.print)(&format!("            {line}"));
        }
    }

    /// Prints what the functions did since this was last called, folded as the page does it.
    pub(crate) fn print_invocations(&mut self) {
        for done in self.trace.folded(self.printed) {
            let count = if done.count > 1 { format!(" {}×", done.count) } else { String::new() };
            let trigger = done.trigger.to_string();
            let line = format!("{:<18} {trigger:<72} → {}{count} ({} ms)", done.function, done.outcome, done.millis);
            (self.print)(&format!("          · {line}"));
            self.printed += done.count;
        }
    }
}

/// Prints a line; a closed terminal is no reason to stop.
pub(crate) fn print_line(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}
