"""What every command needs of the machine: command line, errors, files, signals, devices."""
