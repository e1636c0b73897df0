import ArgumentParser
import Data
import Files
import Jobs

/// `vintner datasets`.
struct DatasetsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "datasets", abstract: "Add datasets to a data folder, or list them.",
        subcommands: [Add.self, List.self])

    /// `vintner datasets add NAME PATH`.
    struct Add: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Copy a folder of IDX files (train-images-idx3-ubyte and its companions, .gz too).")

        @Argument(help: "How jobs will call it.")
        var name: String
        @Argument(help: "The folder.")
        var path: String
        @Option(help: "The data folder.")
        var data = "./vintner-data"

        func run() throws {
            let folder = DataFolder(path: data)
            let time = SystemTime()
            do {
                try folder.make()
                let catalogue = DatasetCatalogue(
                    folder: folder.datasets, systemFolder: Service.systemDatasets)
                let id: DatasetID = IdentifierGenerator().next(at: time.now())
                let info = try catalogue.add(
                    name, from: path, as: .idx(), id: id.rawValue, now: time.now().seconds)
                Terminal.say(
                    "\(info.id)  \(info.name)  \(info.trainCount) + \(info.testCount) samples, "
                        + "\(info.classCount) classes")
            } catch {
                Terminal.complain("vintner: \(error)")
                throw Ending.failed.error
            }
        }
    }

    /// `vintner datasets list`.
    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List what a data folder and the system have.")

        @Option(help: "The data folder.")
        var data = "./vintner-data"

        func run() throws {
            let catalogue = DatasetCatalogue(
                folder: DataFolder(path: data).datasets, systemFolder: Service.systemDatasets)
            do {
                for info in try catalogue.list() {
                    Terminal.say("\(info.id)  \(info.name)  \(info.trainCount) + \(info.testCount) samples")
                }
            } catch {
                Terminal.complain("vintner: \(error)")
                throw Ending.failed.error
            }
        }
    }
}
