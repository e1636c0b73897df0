import Files

/// The files that a dataset is made from, by the names that its format knows them by.
///
/// A name is a text here; it need not be the one that the file has on the disk.
public struct SourceFiles: Sendable {
    /// One of them.
    public struct File: Sendable {
        /// What whoever brought it calls it.
        public let name: String
        /// Where it lies.
        public let path: String

        /// Names a file.
        public init(name: String, path: String) { (self.name, self.path) = (name, path) }
    }

    /// What errors call all of them together.
    let place: String
    let files: [File]
    /// Whether nobody else has them, so that a dataset may take them over instead of copying them.
    let areOurs: Bool

    /// Files that were put down for the dataset alone and are never written to again.
    public init(_ files: [File]) { (self.files, place, areOurs) = (files, "the upload", true) }

    /// The file at `path`, or those in the folder there.
    init(at path: String) throws(DataError) {
        (place, areOurs) = (path, false)
        guard Folder.status(of: path, followingLinks: true)?.isFolder == true else {
            files = [File(name: path.split(separator: "/").last.map(String.init) ?? path, path: path)]
            return
        }
        let names = try DataError.translating { () throws(FileError) in try Folder.names(in: path) }
        files = names.map { File(name: $0, path: "\(path)/\($0)") }
    }

    /// Where the file of a name lies.
    subscript(name: String) -> String? { files.first { $0.name == name }?.path }

    /// The one file with one of these endings; others beside it are none of ours.
    func only(endingIn endings: [String]) throws(DataError) -> File {
        let found = files.filter { file in
            let name = file.name.lowercased()
            return !name.hasPrefix(".") && endings.contains { name.hasSuffix($0) }
        }
        guard found.count <= 1 else {
            throw .malformed(
                file: found[1].name, expected: "one file ending in \(endings.joined(separator: " or "))",
                found: "\(found.count) of them")
        }
        guard let file = found.first else {
            throw .missingFile(folder: place, tried: endings.map { "a file ending in \($0)" })
        }
        return file
    }
}
