/// Asks for room on the disk: called once, before anything is written, with the bytes of all files to come.
///
/// Throws `DataError.noRoom` where there is none for them.
public typealias RoomClaim = (_ byteCount: Int) throws(DataError) -> Void
