import Assets
import HTTP

/// The dashboard: the files of `Public/`, compiled into the binary.
///
/// They hold no data, so they are readable without a token: the page that signs in must load first. Each
/// file has a route of its own, so that any other path stays closed to strangers.
struct DashboardRoutes: Sendable {
    private static let folder = "public/"

    var operations: [Operation] {
        Assets.all.filter { $0.name.hasPrefix(Self.folder) }.flatMap { asset in
            let path = "/" + asset.name.dropFirst(Self.folder.count)
            let paths = path == "/index.html" ? ["/", path] : [path]
            return paths.map { Self.operation(asset, $0) }
        }
    }

    private static func operation(_ asset: Asset, _ path: String) -> Operation {
        let words = path.split { !$0.isLetter && !$0.isNumber }.map {
            $0.prefix(1).uppercased() + $0.dropFirst()
        }
        let type = String(asset.contentType.prefix { $0 != ";" })
        return Operation(
            "getFile\(words.joined())", path == "/" ? "The dashboard." : "A file of the dashboard.",
            .dashboard,
            Route(.get, path, access: .open, execution: .inline) { response(asset, $0) },
            headers: [.ifNoneMatch],
            answers: [
                Answer(.ok, "The file.", content: [(type, .any)], headers: [Answer.etag]), .notModified,
            ])
    }

    private static func response(_ asset: Asset, _ request: Request) -> Response {
        let etag = asset.etag
        let headers: Headers = ["Cache-Control": "no-cache", "ETag": etag]
        if request.hasFresh(etag: etag) { return Response(.notModified, headers: headers) }
        return Response(.ok, headers: headers, contentType: asset.contentType, bytes: asset.bytes)
    }
}
