//! The functions that are measured, and the bars each is held to: a new function gets a line here and nothing else.

/// A function, how it is built, and what it may cost.
#[derive(Clone, Copy)]
pub(crate) struct Function {
    /// Its package and its binary.
    pub(crate) name: &'static str,
    /// The least a function of its kind can be; built in the same profile.
    pub(crate) echo: &'static str,
    /// The Cargo profile it is deployed in.
    pub(crate) profile: &'static str,
    /// The largest zip, in MB.
    pub(crate) zip: f64,
    /// The slowest cold start, in cold starts of the echo.
    pub(crate) cold: f64,
}

pub(crate) const FUNCTIONS: &[Function] = &[
    http("telegram-webhook"),
    http("telegram-relay"),
    http("oauth-authorize"),
    http("oauth-callback"),
    http("runtime-gmail"),
    http("runtime-calendar"),
    http("stripe-webhook"),
    // It alone carries `async-stripe`.
    Function { profile: "billing", zip: 6.0, cold: 2.5, ..http("billing-session") },
    queue("telegram-forward"),
    queue("scheduled-refresh"),
    queue("reconcile-sweep"),
    queue("tenant-reconcile"),
];

/// Behind the HTTP API.
const fn http(name: &'static str) -> Function {
    Function { name, echo: "echo-http", profile: "release", zip: 3.0, cold: 1.6 }
}

/// Fed by a queue or by a schedule.
const fn queue(name: &'static str) -> Function {
    Function { echo: "echo-queue", ..http(name) }
}

impl Function {
    /// The echo, to be built as this function is.
    pub(crate) const fn to_echo(self) -> Self {
        Self { name: self.echo, ..self }
    }

    /// Whether one echo serves both.
    pub(crate) fn is_measured_with(&self, other: &Self) -> bool {
        (self.echo, self.profile) == (other.echo, other.profile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_measured() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../functions");
        for entry in std::fs::read_dir(folder).expect("the functions") {
            let name = entry.expect("a function").file_name();
            assert!(FUNCTIONS.iter().any(|function| name == function.name), "{name:?} has no bars");
        }
    }
}
