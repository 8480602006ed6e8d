//! The process on the bot's machine that hands pushes to the watcher.
