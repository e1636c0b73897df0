import Files
import Jobs

/// How much room the disk of the data folder should have before new work begins.
struct DiskRoom: Sendable {
    let path: String
    /// nil: as much as `automatic` says.
    let least: Int?

    /// What is asked of a disk unless the command line says so: 2 GiB, on small disks a twentieth.
    static func automatic(total: Int) -> Int { min(2 << 30, total / 20) }

    /// What is missing; nil when there is enough, and when nobody can tell.
    var shortage: DiskShortage? {
        guard let space = try? Folder.space(at: path) else { return nil }
        let least = least ?? Self.automatic(total: space.total)
        return space.free < least ? DiskShortage(free: space.free, least: least) : nil
    }
}
