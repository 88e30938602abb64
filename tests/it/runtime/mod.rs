//! What a runtime may ask: tokens, Gmail, Calendar.

mod broker;
mod broker_refresh;
mod calendar;
mod contract;
mod deadlines;
mod gmail;
mod gmail_cost;
mod gmail_text;
mod limits;
mod mail_corpus;
mod neighbours;
mod refusals;
pub(crate) mod world;
