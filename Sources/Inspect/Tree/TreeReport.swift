import Formats

/// The structure of a model file: its containers, and the tensors and values in them.
public struct TreeReport: Codable, Hashable, Sendable {
  /// The version of the JSON form, `schemas/tree-report.schema.json`.
  package static let currentSchemaVersion = 1

  /// The version of the JSON form.
  public var schemaVersion = Self.currentSchemaVersion
  /// The path as the user gave it.
  public var file: String
  /// `FormatIdentifier.name`; `nil` for archives made in memory.
  public var format: String?
  /// The file's length; `nil` when the caller did not say.
  public var fileByteCount: Int?
  /// Tensors in the file, listed or not.
  public var tensorCount: Int
  /// Leaves that are no tensors.
  public var valueCount: Int
  /// Bytes of all tensors, each counted as often as it is named.
  public var tensorByteCount: Int
  /// What could not be read of the file; `nil` where that is nothing.
  public var unread: [UnreadEntry]?
  /// How many levels below the root are listed; `nil` for all.
  public var depth: Int?
  /// The outermost container, or the group of all names.
  public var root: TreeNode

  /// The structure of `archive`, from its index alone.
  ///
  /// - Parameters:
  ///   - file: the path, for the report.
  ///   - depth: list so many levels; deeper ones are counted only. `nil` for all.
  public init(archive: TensorArchive, file: String, fileByteCount: Int? = nil, depth: Int? = nil) {
    self.file = file
    self.fileByteCount = fileByteCount
    self.depth = depth
    format = archive.format?.name
    tensorCount = archive.tensors.count
    valueCount = archive.values.count
    tensorByteCount = archive.tensorByteCount
    unread = archive.unread.nilIfEmpty
    root = TreeNode(archive: archive)
    if let depth { root.cut(below: depth) }
  }
}
