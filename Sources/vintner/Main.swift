import ArgumentParser

@main struct Vintner: ParsableCommand {}
