/// A format whose files are read and never written.
public protocol ReadOnlyModelFormat: ModelFormat {}

extension ReadOnlyModelFormat {
  public var canWrite: Bool { false }

  /// Refuses: the format is only read.
  ///
  /// - Throws: `FormatError`, always.
  public func write(
    _ archive: TensorArchive, to writer: inout AtomicFileWriter, progress: WriteProgress?
  ) throws {
    throw FormatError.unsupported("\(identifier.displayName) files are read, never written")
  }
}
