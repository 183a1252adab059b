import Foundation
import Storage

/// Zip files in a temporary folder.
package enum ZipFiles {
  package static func temporaryPath() throws -> String {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("condi-zip-tests")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    return folder.appendingPathComponent(UUID().uuidString).path
  }

  package static func write(to path: String, _ build: (inout ZipWriter) -> Void) throws {
    var zip = ZipWriter()
    build(&zip)
    var writer = try AtomicFileWriter(path: path)
    try writer.write(zip.plan())
    try writer.finish()
  }

  @discardableResult
  package static func write(_ build: (inout ZipWriter) -> Void) throws -> InputFile {
    let path = try temporaryPath()
    try write(to: path, build)
    return try open(path)
  }

  /// Returns a copy of `file` with changed bytes.
  package static func modify(_ file: InputFile, _ change: (inout [UInt8]) -> Void) throws
    -> InputFile
  {
    var bytes = try file.bytes(at: 0, count: file.byteCount, purpose: "test").array
    change(&bytes)
    return try make(bytes)
  }

  package static func make(_ bytes: some ContiguousBytes) throws -> InputFile {
    let path = try temporaryPath()
    try writeUnsynced(bytes, to: path)
    return try open(path)
  }

  /// Opens the file and removes its name at once: the open descriptor keeps it.
  private static func open(_ path: String) throws -> InputFile {
    defer { unlink(path) }
    return try InputFile(path: path)
  }
}
