//! The command as a user meets it: what it prints, what it leaves on disk, and how it exits.

mod bench;
mod command;
mod compare;
mod data;
mod diagnose;
mod failures;
mod reproduce;
mod rl;
mod stop;
mod train;
mod transfer;
mod verify;
