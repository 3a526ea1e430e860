//! Tests of the real programs: real daemons, real responders, real clients, in folders of their own.
#![allow(clippy::unwrap_used, reason = "a test, and what helps one, may stop at the first surprise")]

mod accept;
mod bad_input;
mod commands;
mod compat;
mod config;
mod conformance;
mod damage;
mod exchange;
mod exhaustion;
mod faults;
mod flood;
mod greedy;
mod harness;
mod history;
mod hostile;
mod interrupted;
mod journal;
mod lacking;
mod limits;
mod metrics;
mod namespaces;
mod notify;
mod output;
mod parallel;
mod pauses;
mod prose;
mod reload;
mod report;
mod service;
mod steps;
mod strangers;
mod tidy;
mod users;
mod verdicts;
