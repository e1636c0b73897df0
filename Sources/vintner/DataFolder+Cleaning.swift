import Files
import Jobs

/// Folders of jobs and models that no record names.
extension DataFolder {
    /// What a cleaning did; relative paths.
    struct Cleaning {
        /// What no record names, which is gone.
        var removed: [String] = []
        /// What is none of this program's, which stays.
        var unfamiliar: [String] = []
    }

    /// A folder of a job or a model: nothing but a database makes one.
    ///
    /// - Returns: The first of them, relative; `nil` where there is none.
    /// - Throws: `FileError`.
    func trace() throws(FileError) -> String? {
        for parent in ["jobs", "models"] where Folder.status(of: absolute(parent))?.isFolder == true {
            if let name = try Folder.names(in: absolute(parent)).first(where: { isOwn($0, in: parent) }) {
                return "\(parent)/\(name)"
            }
        }
        return nil
    }

    /// Deletes what no record names: temporary files, checkpoints and models of interrupted runs.
    ///
    /// - Parameters:
    ///   - named: The relative paths that records name.
    ///   - jobs: Those that may go on from a checkpoint: what they keep for themselves stays with it.
    /// - Returns: What it deleted, and what it left alone.
    /// - Throws: `FileError`.
    @discardableResult
    func clean(keeping named: Set<String>, notesOf jobs: Set<JobID>) throws(FileError) -> Cleaning {
        var cleaning = Cleaning()
        try AtomicFile.removeLeftovers(in: path)
        // A path of a dataset is its folder.
        let folders = Set(named.map { $0.split(separator: "/").prefix(2).joined(separator: "/") })
        for parent in ["jobs", "models"] where Folder.status(of: absolute(parent)) != nil {
            for name in try Folder.names(in: absolute(parent)) {
                let folder = "\(parent)/\(name)"
                guard isOwn(name, in: parent) else {
                    cleaning.unfamiliar.append(folder)
                    continue
                }
                try AtomicFile.removeLeftovers(in: absolute(folder))
                guard folders.contains(folder) else {
                    try Folder.removeTree(absolute(folder))
                    cleaning.removed.append(folder)
                    continue
                }
                let keepsNotes = JobID(name).map(jobs.contains) ?? false
                if parent == "jobs" { try cleanJob(folder, keeping: named, keepsNotes, &cleaning) }
            }
        }
        return cleaning
    }

    private func cleanJob(
        _ folder: String, keeping named: Set<String>, _ keepsNotes: Bool, _ cleaning: inout Cleaning
    ) throws(FileError) {
        for file in try Folder.names(in: absolute(folder)) where !named.contains("\(folder)/\(file)") {
            if keepsNotes, Self.keptNames.contains(file) { continue }
            let place = "\(folder)/\(file)"
            guard Self.isNote(file) || file.hasSuffix(".safetensors"),
                Folder.status(of: absolute(place))?.isRegularFile == true
            else {
                cleaning.unfamiliar.append(place)
                continue
            }
            try Folder.removeFile(absolute(place))
            cleaning.removed.append(place)
        }
    }

    /// Whether a name in `jobs` or `models` is that of a folder of a job or a model.
    private func isOwn(_ name: String, in parent: String) -> Bool {
        guard parent == "jobs" ? JobID(name) != nil : ModelID(name) != nil else { return false }
        return Folder.status(of: absolute("\(parent)/\(name)"))?.isFolder == true
    }
}
