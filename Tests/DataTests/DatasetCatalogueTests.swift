import Files
import Foundation
import Synchronization
import Testing

@testable import Data

@Suite("A catalogue finds, imports and shares datasets") struct DatasetCatalogueTests {
    let source: IDXFolder
    let home: IDXFolder
    let catalogue: DatasetCatalogue

    init() throws {
        source = try IDXFolder()
        home = try IDXFolder()
        catalogue = DatasetCatalogue(folder: home.path + "/datasets", systemFolder: home.path + "/system")
    }

    @Test("an imported dataset is described, listed and loaded")
    func importing() throws {
        try source.putDataset()
        let info = try catalogue.add("small", from: source.path, as: .idx(), id: "dst_1", now: 1700)
        #expect(info.images?.shape == ImageShape(height: 4, width: 3, channels: 1))
        #expect(info.trainCount == 13 && info.validationCount == 0 && info.testCount == 5)
        #expect(info.classNames == ["0", "1", "2"] && info.createdAt == 1700)
        #expect(info.byteCount == 18 * 13)
        let again = DatasetCatalogue(folder: home.path + "/datasets", systemFolder: "/nowhere")
        #expect(try again.list() == [info], "the description survives, bit for bit")
        let dataset = try again.load("small")
        #expect(
            dataset.train.images?.images
                == Array(try readFile(source.path + "/train-images-idx3-ubyte", limit: 999)[16...]))
        #expect(dataset.test.images?.labels == [0, 1, 2, 0, 1])
        #expect(dataset.validation == nil)
    }

    @Test("others come and go while a dataset is made; the first one there has the name")
    func making() throws {
        try source.putDataset()
        let size = try Folder.byteCount(of: source.path)
        let path = source.path
        func add(_ name: String, _ id: String, _ claim: RoomClaim = { _ in }) throws(DataError) {
            _ = try catalogue.add(name, from: path, as: .idx(), id: id, now: 0, claim: claim)
        }
        // Within the claim a dataset is being made: who held the catalogue meanwhile would wait for itself.
        try add("slow", "dst_1") { (byteCount) throws(DataError) in
            #expect(byteCount == size)
            try add("quick", "dst_2")
            try catalogue.bury("dst_2")
        }
        #expect(try catalogue.list().map(\.name) == ["slow"])
        let error = #expect(throws: DataError.self) {
            try add("twice", "dst_3") { (_) throws(DataError) in try add("twice", "dst_4") }
        }
        #expect(error == .nameTaken("twice"))
        #expect(try catalogue.list().map(\.id) == ["dst_1", "dst_4"])
        #expect(try Folder.names(in: home.path + "/datasets") == [".deleted-dst_2", "dst_1", "dst_4"])
    }

    @Test("compressed and plain files have one hash, other content another")
    func hashes() throws {
        try source.putDataset()
        let plain = try catalogue.add("plain", from: source.path, as: .idx(), id: "dst_1", now: 0)
        try source.gzip("train-images-idx3-ubyte")
        try source.gzip("t10k-labels-idx1-ubyte")
        let packed = try catalogue.add("packed", from: source.path, as: .idx(), id: "dst_2", now: 0)
        #expect(plain.sha256 == packed.sha256 && plain.images?.mean == packed.images?.mean)
        try source.put(IDXFolder.bytes([5], [0, 1, 2, 0, 2]), as: "t10k-labels-idx1-ubyte")
        let other = try catalogue.add("other", from: source.path, as: .idx(), id: "dst_3", now: 0)
        #expect(other.sha256 != plain.sha256)
        #expect(try catalogue.list().map(\.name) == ["plain", "packed", "other"])
    }

    @Test("colour images and a validation split are understood")
    func colour() throws {
        try source.putDataset(extents: [4, 3, 3])
        try source.put(
            IDXFolder.bytes([1, 4, 3, 3], Array(repeating: 9, count: 36)), as: "validation-images.idx4-ubyte")
        try source.put(IDXFolder.bytes([1], [2]), as: "validation-labels.idx1-ubyte")
        let info = try catalogue.add(
            "colour", from: source.path, as: .idx(classNames: ["a", "b", "c"]), id: "dst_1", now: 0)
        #expect(info.images?.shape.channels == 3 && info.images?.mean.count == 3 && info.validationCount == 1)
        #expect(info.classNames == ["a", "b", "c"])
        #expect(try catalogue.load("dst_1").validation?.images?.labels == [2])
    }

    @Test("one decoded dataset is shared and freed with its last user")
    func sharing() throws {
        try source.putDataset()
        _ = try catalogue.add("small", from: source.path, as: .idx(), id: "dst_1", now: 0)
        var first: Dataset? = try catalogue.load("small")
        #expect(try catalogue.load("dst_1") === first)
        weak let watched = first
        first = nil
        #expect(watched == nil)
        let second = try catalogue.load("small")
        #expect(try catalogue.startLoading("small").dataset.wait() === second)
    }

    @Test("all who want a dataset at once get the one that is decoded, and wait with signs of life")
    func sharingAtOnce() throws {
        try source.putDataset()
        _ = try catalogue.add("small", from: source.path, as: .idx(), id: "dst_1", now: 0)
        let found = Mutex<[Dataset]>([])
        DispatchQueue.concurrentPerform(iterations: 16) { [catalogue] index in
            let dataset =
                index % 2 == 0
                ? try? catalogue.load("small") : try? catalogue.startLoading("small").dataset.wait()
            if let dataset { found.withLock { $0.append(dataset) } }
        }
        let all = found.withLock { $0 }
        #expect(all.count == 16 && all.allSatisfy { $0 === all[0] })

        let pending = PendingDataset()
        var signs = 0
        #expect(throws: DataError.badName("late")) {
            try pending.wait {
                signs += 1
                if signs == 2 { pending.finish(.failure(.badName("late"))) }
            }
        }
        #expect(signs == 2)
    }

    @Test("what is wrong is named, and a failed import leaves nothing")
    func failures() throws {
        func message(_ name: String) throws -> String {
            let error = try #require(throws: DataError.self) {
                try catalogue.add(name, from: source.path, as: .idx(), id: "dst_1", now: 0)
            }
            return error.description
        }
        #expect(
            try message("small").contains("holds none of train-images-idx3-ubyte, train-images-idx3-ubyte.gz")
        )
        try source.putDataset()
        #expect(try message("../up").contains("is not a dataset's name"))
        #expect(try message("").contains("is not a dataset's name"))
        try source.put(IDXFolder.bytes([5], [0, 1, 9, 0, 1]), as: "t10k-labels-idx1-ubyte")
        #expect(try message("small").hasSuffix("expected labels below 3, as in the training split, found 9."))
        try source.put(IDXFolder.bytes([4], [0, 1, 2, 0]), as: "t10k-labels-idx1-ubyte")
        #expect(try message("small").hasSuffix("expected 5 labels, one for each image, found 4."))
        try source.putDataset()
        try source.put(
            IDXFolder.bytes([5, 2, 2], Array(repeating: 0, count: 20)), as: "t10k-images-idx3-ubyte")
        #expect(try message("small").hasSuffix("expected images of the training split's size, found 2x2x1."))
        #expect(try Folder.names(in: home.path + "/datasets").isEmpty)
        let unknown = try #require(throws: DataError.self) { try catalogue.load("cifar") }
        #expect(unknown.description == "There is no dataset \"cifar\"; known: none.")
        try source.putDataset()
        _ = try catalogue.add("small", from: source.path, as: .idx(), id: "dst_1", now: 0)
        #expect(try message("small") == "A dataset named \"small\" exists already.")
    }

    @Test("files that changed after the import are noticed")
    func changed() throws {
        try source.putDataset()
        _ = try catalogue.add("small", from: source.path, as: .idx(), id: "dst_1", now: 0)
        let path = home.path + "/datasets/dst_1/t10k-labels-idx1-ubyte"
        try AtomicFile.write(IDXFolder.bytes([5], [2, 2, 2, 2, 2]), to: path)
        let error = try #require(throws: DataError.self) { try catalogue.load("small") }
        #expect(error.description.hasPrefix("The files of dataset \"small\" changed: expected SHA-256 "))
    }

    @Test("interrupted imports are cleared away")
    func leftovers() throws {
        try Folder.make(home.path + "/datasets/.import-dst_9")
        try AtomicFile.write("x", to: home.path + "/datasets/.import-dst_9/train")
        try catalogue.removeLeftovers()
        #expect(try Folder.names(in: home.path + "/datasets").isEmpty)
    }

    @Test("what does not change is read once, and what another process changes is seen at once")
    func changesByOthers() throws {
        try source.putDataset(classes: 10)
        let (folder, system) = (home.path + "/datasets", home.path + "/system")
        let first = try catalogue.add("first", from: source.path, as: .idx(), id: "dst_1", now: 0)
        try Folder.make(system)
        try FileManager.default.copyItem(atPath: source.path, toPath: system + "/fashion-mnist")
        var known = KnownDatasets(folder: folder, systemFolder: system)
        func found(_ name: String) throws -> DatasetInfo? { try known.entry(name)?.info }
        func count() throws -> Int { try known.all().count }
        // The description of the system's dataset is written now.
        #expect(try count() == 2)
        // Times of files are coarse: what was written just now may change once more without a trace.
        Thread.sleep(forTimeInterval: 2.1)
        #expect(try found("first") == first)
        let readCount = known.readCount
        for _ in 0..<3 {
            #expect(try found("first") == first && found("dst_1") == first)
            #expect(try found("fashion-mnist")?.classCount == 10 && count() == 2)
        }
        #expect(known.readCount == readCount)

        let second = try catalogue.add("second", from: source.path, as: .idx(), id: "dst_2", now: 0)
        #expect(try found("second") == second && count() == 3)
        try catalogue.bury("dst_1")
        #expect(try found("first") == nil && found("dst_1") == nil)
        let third = try catalogue.add("first", from: source.path, as: .idx(), id: "dst_3", now: 7)
        #expect(try found("first") == third)
        try second.write(to: folder + "/dst_3/dataset.json", stamp: "")
        #expect(try found("first") == nil)
        let before = try found("fashion-mnist")
        let labels = "/t10k-labels-idx1-ubyte"
        try source.put(IDXFolder.bytes([5], [0, 1, 2, 0, 2]), as: "t10k-labels-idx1-ubyte")
        try FileManager.default.removeItem(atPath: system + "/fashion-mnist" + labels)
        try FileManager.default.copyItem(
            atPath: source.path + labels, toPath: system + "/fashion-mnist" + labels)
        #expect(try found("fashion-mnist")?.sha256 != before?.sha256)
        try Folder.removeTree(system + "/fashion-mnist")
        #expect(try found("fashion-mnist") == nil)
    }

    @Test("a system dataset is measured once and again when its files change")
    func systemDataset() throws {
        try source.putDataset(classes: 10)
        let folder = home.path + "/system/fashion-mnist"
        try Folder.make(home.path + "/system")
        try FileManager.default.createSymbolicLink(atPath: folder, withDestinationPath: source.path)
        let info = try catalogue.info("fashion-mnist")
        #expect(info.classNames[9] == "Ankle boot" && info.id == "dst_01brbb0d00fash10nmn1st0000")
        #expect(try Folder.names(in: home.path + "/datasets") == [".dst_01brbb0d00fash10nmn1st0000.json"])
        #expect(try catalogue.info("dst_01brbb0d00fash10nmn1st0000") == info)
        try source.putDataset(train: 20, classes: 10)
        #expect(try catalogue.info("fashion-mnist").trainCount == 20)
    }

    static let fashion = "/usr/share/datasets"

    @Test(
        "the real Fashion-MNIST has its published figures",
        .enabled(if: FileManager.default.fileExists(atPath: fashion + "/fashion-mnist")))
    func fashionMNIST() throws {
        let catalogue = DatasetCatalogue(folder: home.path, systemFolder: Self.fashion)
        let dataset = try catalogue.startLoading("fashion-mnist").dataset.wait()
        let info = dataset.info
        #expect(info.trainCount == 60_000 && info.testCount == 10_000 && info.classCount == 10)
        #expect(dataset.train.images?.images.count == 60_000 * 784)
        // The mean and deviation that are printed with the dataset everywhere: 0.2860, 0.3530.
        let images = try #require(info.images)
        #expect(abs(images.mean[0] - 0.2860) < 5e-5 && abs(images.standardDeviation[0] - 0.3530) < 5e-5)
        #expect(dataset.train.images.map { Set($0.labels).count } == 10)
    }
}
