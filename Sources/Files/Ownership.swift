import Glibc

/// Whose the files are that root makes in somebody else's folder, as commands do beside a service that runs
/// as a user of its own: the folder's owner's, who could not read them otherwise.
enum Ownership {
    /// Gives a file that was just made to the owner of its folder, where that is not who made it.
    ///
    /// By descriptor, and only what has no other name: the owner of the folder may put anything in its place.
    ///
    /// - Throws: `FileError` when root may not.
    static func inherit(_ descriptor: borrowing Descriptor) throws(FileError) {
        guard geteuid() == 0 else { return }
        var (folder, file) = (stat(), stat())
        let path = descriptor.path
        guard unsafe stat(Folder.split(path).folder, &folder) == 0, folder.st_uid != 0 else { return }
        guard unsafe fstat(descriptor.number, &file) == 0, file.st_uid == 0 else { return }
        let isFolder = file.st_mode & S_IFMT == S_IFDIR
        guard isFolder || file.st_nlink == 1 && file.st_size == 0 else { return }
        guard fchown(descriptor.number, folder.st_uid, folder.st_gid) == 0 else {
            throw .system(action: "give to its folder's owner", path: path, errno: errno)
        }
    }

    /// The same of a folder.
    static func inheritFolder(_ path: String) throws(FileError) {
        guard geteuid() == 0 else { return }
        try inherit(Descriptor(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW))
    }
}
