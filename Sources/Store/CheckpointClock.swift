/// Says when the write-ahead log has grown enough to be brought into the file.
struct CheckpointClock {
    /// A commit writes some ten pages of 4 KiB.
    static let commitsMax = 128
    /// A row of a large commit takes about a hundred bytes with what indexes it.
    static let changesMax = 10_000

    private var commits = 0
    private var changes = 0

    /// Whether it is due after one more commit, `changes` being the rows that the connection has changed
    /// since it was opened.
    mutating func isDue(afterChanges changes: Int) -> Bool {
        commits += 1
        guard commits >= Self.commitsMax || changes - self.changes >= Self.changesMax else { return false }
        (commits, self.changes) = (0, changes)
        return true
    }
}
