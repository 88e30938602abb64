//! What the system knows without asking anyone: pure, without I/O, clock or environment.

/// An enum without fields whose variants have stable names, in rows and log lines alike.
macro_rules! named_enum {
    ($(#[$about:meta])* pub enum $type:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $type {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl $type {
            /// The stable name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str(self.as_str())
            }
        }
    };
}

pub mod backoff;
pub mod backups;
pub mod command;
pub mod due;
pub mod generation;
pub mod gift;
pub mod ids;
pub mod integration;
pub mod inventory;
pub mod key_list;
pub mod keyboards;
pub mod late_effects;
pub mod lenient_json;
pub mod names;
pub mod person;
pub mod plan;
pub mod rate;
pub mod reconcile_status;
pub mod refresh;
pub mod refresh_failure;
pub mod release;
pub mod resources;
pub mod route;
pub mod scope;
pub mod secrets;
pub mod shard;
pub mod sign_in;
pub mod step_error;
pub mod step_name;
pub mod subscription;
pub mod tenant;
pub mod time_limits;
pub mod update;
pub mod visible;
