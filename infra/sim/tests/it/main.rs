//! Tests of the simulators themselves, without our functions.

mod pump;
mod stripe;
mod stripe_events;
mod telegram;
mod telegram_replies;
