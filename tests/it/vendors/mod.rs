//! Our clients against the simulated vendors.

mod arm;
mod arm_apps;
mod arm_contract;
pub(crate) mod arm_world;
mod azure_sign_in;
mod google_contract;
mod google_oauth;
mod google_sim;
pub(crate) mod google_world;
mod model_gateway;
mod telegram_bot;
mod vault;
