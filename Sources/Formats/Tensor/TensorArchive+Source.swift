import Foundation
import Synchronization

extension TensorArchive {
  /// Bytes of all files that the archive was read from.
  ///
  /// - Throws: `FormatError` when one of them cannot be opened any more.
  package func sourceByteCount() throws -> Int {
    try sourceFiles.reduce(0) { try $0 + InputFile(path: $1, access: .read).byteCount }
  }

  /// What identifies the files that the archive was read from, in lower-case hexadecimal.
  ///
  /// For one file it is its SHA-256. For several it is the SHA-256 of what `sha256sum` prints when
  /// given their names, relative to the first one's folder and in the order of `sourceFiles`: a line
  /// a file, of its SHA-256, two spaces, and its name.
  ///
  /// - Parameter run: computes the files' digests.
  /// - Throws: `FormatError` when one of them cannot be read any more.
  func sourceSHA256(
    runningTasks run: PackedWriter.TaskRunner = PackedWriter.sequentially
  ) throws -> String {
    let files = sourceFiles
    let found = Mutex([String](repeating: "", count: files.count))
    try run(files.count) { index in
      let digest = try InputFile(path: files[index]).sha256()
      found.withLock { $0[index] = digest }
    }
    let digests = found.withLock { $0 }
    guard digests.count != 1, let first = sourceFiles.first else { return digests.first ?? "" }
    let folder = String(first.dropLast((first as NSString).lastPathComponent.count))
    let lines = zip(digests, sourceFiles).map { digest, path in
      "\(digest)  \(path.hasPrefix(folder) ? String(path.dropFirst(folder.count)) : path)\n"
    }
    return SharedBytes(Array(lines.joined().utf8)).sha256
  }
}
