import Data
import Files
import Jobs
import Store

/// The files that rows name, and those that none names.
extension Examination {
    /// Compares a file with what its row says.
    mutating func examine(_ file: NamedFile) {
        guard DataFolder.isOwn(file.path) else {
            return find(
                .error, .foreignPath, file.path, "A row names a file that is not of this folder.",
                "restore a backup.")
        }
        fileCount += 1
        let path = folder.absolute(file.path)
        guard let status = Folder.status(of: path) else {
            return find(.error, .missing, file.path, "The file is not there.", remedy(file), repair(file))
        }
        byteCount += Int64(status.byteCount)
        func damaged(_ how: String) {
            find(.error, .damaged, file.path, how, remedy(file), repair(file))
        }
        guard status.isRegularFile, Int64(status.byteCount) == file.byteCount else {
            return damaged("It has \(status.byteCount) bytes and should have \(file.byteCount).")
        }
        if isFast { return }
        do throws(FileError) {
            let found = try SHA256.digest(ofFile: path).hex
            guard found != file.sha256 else { return }
            damaged("Its content changed: its SHA-256 should be \(file.sha256) and is \(found).")
        } catch { damaged("It cannot be read: \(error)") }
    }

    private func repair(_ file: NamedFile) -> Finding.Repair? {
        switch file.role {
        case .checkpoint(let job, let kind, let step): .forgetCheckpoint(job, kind: kind, step: step)
        case .model(let id): .forgetModel(id)
        case .adapters: nil
        }
    }

    private func remedy(_ file: NamedFile) -> String {
        switch file.role {
        case .checkpoint:
            "restore it from a backup, or --repair forgets it: the job goes on from another one or its start."
        case .model(let id):
            "restore it from a backup, or --repair forgets the model and sets what is left of it aside in "
                + "\(DataFolder.damaged(id))."
        case .adapters: "restore it from a backup; the model itself needs it not."
        }
    }

    /// What lies in the data folder itself.
    mutating func examineTop() throws(FileError) {
        let known = Set(DataFolder.databaseFiles).union([
            "LOCK", "TOKENS.LOCK", "token", "tokens.json", "jobs", "models", "datasets",
            DataFolder.uploadsName, DataFolder.damagedName, DataFolder.checkMark,
        ])
        for name in try Folder.names(in: folder.path) where !known.contains(name) {
            if AtomicFile.isLeftover(name) {
                foundLeftover(name)
            } else if name.hasPrefix("\(DataFolder.databaseName).schema-"), name.hasSuffix(".backup") {
                find(
                    .note, .copy, name, "A copy of the database from before its schema changed.",
                    "delete it when the new version has proved itself.")
            } else {
                foundUnfamiliar(name)
            }
        }
    }

    /// Folders of jobs: checkpoints that no row names, and what jobs that succeeded kept for themselves.
    mutating func examineJobFolders(_ states: [JobID: JobState], _ named: [NamedFile]) throws(FileError) {
        let paths = Set(named.map(\.path))
        for name in try names(in: "jobs") {
            let place = "jobs/\(name)"
            guard let id = JobID(name), Folder.status(of: folder.absolute(place))?.isFolder == true else {
                foundUnfamiliar(place)
                continue
            }
            let files = try Folder.names(in: folder.absolute(place))
            guard let state = states[id] else {
                foundOrphan(place, files.isEmpty ? .note : .warning, "There is no such job.")
                continue
            }
            for file in files where !paths.contains("\(place)/\(file)") {
                if AtomicFile.isLeftover(file) {
                    foundLeftover("\(place)/\(file)")
                } else if DataFolder.isNote(file) {
                    guard state == .succeeded else { continue }
                    foundOrphan("\(place)/\(file)", .warning, "Its job has succeeded.")
                } else if file.hasSuffix(".safetensors") {
                    foundOrphan("\(place)/\(file)", .warning, "No row names this checkpoint.")
                } else {
                    foundUnfamiliar("\(place)/\(file)")
                }
            }
        }
    }

    /// Folders of models that have no row.
    mutating func examineModelFolders(_ models: Set<ModelID>) throws(FileError) {
        for name in try names(in: "models") {
            let place = "models/\(name)"
            guard let id = ModelID(name), Folder.status(of: folder.absolute(place))?.isFolder == true else {
                foundUnfamiliar(place)
                continue
            }
            guard models.contains(id) else {
                foundOrphan(place, .warning, "There is no such model.")
                continue
            }
            for file in try Folder.names(in: folder.absolute(place)) where AtomicFile.isLeftover(file) {
                foundLeftover("\(place)/\(file)")
            }
        }
    }

    /// Datasets that were added here; those of the system are checked when they are used.
    mutating func examineDatasets(_ known: [DatasetID: String]) throws(FileError) {
        let catalogue = DatasetCatalogue(folder: folder.datasets)
        let present = try names(in: "datasets")
        var buried: Set<DatasetID> = []
        for name in present {
            if let id = DatasetCatalogue.buriedID(name).flatMap(DatasetID.init) {
                buried.insert(id)
                find(
                    .warning, .leftover, "datasets/\(name)", "Its deletion was interrupted.",
                    "--repair ends it, as the next start does.", .finishDeletion(id))
            } else if DatasetCatalogue.isLeftover(name) {
                foundLeftover("datasets/\(name)")
            } else if name.hasPrefix("."), name.hasSuffix(".json") {
                continue  // What is remembered of a dataset of the system.
            } else if DatasetID(name) == nil {
                // One that has no row yet gets it at the next start.
                foundUnfamiliar("datasets/\(name)")
            }
        }
        for (id, name) in known.sorted(by: { $0.key < $1.key })
        where !DatasetCatalogue.isOfSystem(id.rawValue) && !buried.contains(id) {
            let place = "datasets/\(id)"
            guard present.contains(id.rawValue) else {
                find(
                    .error, .missing, place, "The files of dataset \(name) are not there.",
                    "restore the folder from a backup, or --repair forgets the dataset.", .forgetDataset(id))
                continue
            }
            fileCount += 1
            do throws(DataError) { try catalogue.verify(id.rawValue, readsContent: !isFast) } catch {
                find(
                    .error, .damaged, place, "Dataset \(name) is not what it was: \(error)",
                    "restore the folder from a backup.")
            }
        }
    }

    /// Uploads that are open: files that no row names, and rows without their file.
    mutating func examineUploads(_ files: [DatasetID: [DatasetFile]]) throws(FileError) {
        for name in try names(in: DataFolder.uploadsName) {
            let place = "\(DataFolder.uploadsName)/\(name)"
            guard let id = DatasetID(name), let known = files[id] else {
                foundOrphan(place, .warning, "There is no such open upload.")
                continue
            }
            let paths = Set(known.map(\.path))
            for file in try names(in: place) where !paths.contains("\(place)/\(file)") {
                if AtomicFile.isLeftover(file) {
                    foundLeftover("\(place)/\(file)")
                } else {
                    foundOrphan("\(place)/\(file)", .warning, "No row names this file of an upload.")
                }
            }
        }
        for file in files.sorted(by: { $0.key < $1.key }).flatMap(\.value) {
            fileCount += 1
            let size = Folder.status(of: folder.absolute(file.path))?.byteCount
            guard size != Int(file.byteCount) else { continue }
            find(
                .warning, .missing, file.path,
                "A file of an open upload is not there, or not as long as it was.",
                "the next start forgets it: send it again.")
        }
    }

    /// None where the folder is not there: a start makes it.
    private func names(in name: String) throws(FileError) -> [String] {
        guard Folder.status(of: folder.absolute(name)) != nil else { return [] }
        return try Folder.names(in: folder.absolute(name))
    }

    private mutating func foundLeftover(_ place: String) {
        find(
            .warning, .leftover, place, "An interrupted process left it.",
            "--repair deletes it, as the next start does.", .remove)
    }

    private mutating func foundOrphan(_ place: String, _ severity: Finding.Severity, _ why: String) {
        find(severity, .orphan, place, why, "--repair deletes it, as the next start does.", .remove)
    }

    private mutating func foundUnfamiliar(_ place: String) {
        let goesToo = place.hasPrefix("jobs/") && place.split(separator: "/").count > 2
        find(
            .note, .unfamiliar, place, "This program did not make it, and leaves it alone.",
            goesToo ? "move it elsewhere: it goes when the job is deleted." : "")
    }
}
