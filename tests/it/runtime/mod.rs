//! What a runtime may ask: tokens, Gmail, Calendar.

mod broker;
mod broker_refresh;
mod calendar;
mod deadlines;
mod gmail;
mod gmail_cost;
mod limits;
mod mail_corpus;
pub(crate) mod world;
