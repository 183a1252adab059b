import Foundation
import Synchronization

/// Files that several tests need and that take long to make. Each is made once per run.
///
/// Tests read them where they are, or change a copy.
public enum SharedMaterial {
  /// The folder of one piece of material, once it has been made.
  private final class Item: Sendable {
    let folder = Mutex<TemporaryFolder?>(nil)
  }

  private static let items = Mutex<[String: Item]>([:])

  /// Holds the folders of all items; removed when the tests end.
  private static let root: String = {
    atexit { try? FileManager.default.removeItem(atPath: SharedMaterial.root) }
    return FileManager.default.temporaryDirectory
      .appending(path: "condi-shared-\(UUID().uuidString)").path
  }()

  /// Returns the folder called `name`, which `make` fills at the first call.
  ///
  /// A test that requests material that another test is making waits for it.
  ///
  /// - Throws: The error of `make`; the next call tries again.
  public static func folder(
    _ name: String, _ make: (TemporaryFolder) throws -> Void
  ) throws -> TemporaryFolder {
    let item = items.withLock { items in
      let item = items[name] ?? Item()
      items[name] = item
      return item
    }
    return try item.folder.withLock { made in
      if let made { return made }
      let folder = TemporaryFolder(path: "\(root)/\(name)")
      try? FileManager.default.removeItem(atPath: folder.path)
      try FileManager.default.createDirectory(
        atPath: folder.path, withIntermediateDirectories: true)
      try make(folder)
      made = folder
      return folder
    }
  }
}
