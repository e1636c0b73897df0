import Assets
import HTTP

/// The dashboard: the files of `Public/`, compiled into the binary.
///
/// They hold no data, so they are readable without a token: the page that signs in must load first. Each
/// file has a route of its own, so that any other path stays closed to strangers.
struct DashboardRoutes: Sendable {
    private static let folder = "public/"

    var routes: [Route] {
        Assets.all.filter { $0.name.hasPrefix(Self.folder) }.flatMap { asset in
            let path = "/" + asset.name.dropFirst(Self.folder.count)
            let paths = path == "/index.html" ? ["/", path] : [path]
            return paths.map { path in
                Route(.get, path, access: .open, execution: .inline) { Self.response(asset, $0) }
            }
        }
    }

    private static func response(_ asset: Asset, _ request: Request) -> Response {
        let etag = asset.etag
        let headers: Headers = ["Cache-Control": "no-cache", "ETag": etag]
        if request.hasFresh(etag: etag) { return Response(.notModified, headers: headers) }
        return Response(.ok, headers: headers, contentType: asset.contentType, bytes: asset.bytes)
    }
}
