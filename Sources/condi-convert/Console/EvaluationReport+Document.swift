import Glibc
import Imaging
import Reports
import Storage
import SuperResolution

/// `SuperResolution` creates the value and `Reports` renders it; this extension connects them.
extension EvaluationReport: DocumentedReport {
  package var document: ReportDocument {
    var document = ReportDocument(
      title: "Evaluation: \(dataset)",
      summary: [
        .init("images", .integer(images.count), kind: .integer),
        .init("scale", "×\(scale)"),
        .init("low-resolution images", source),
        .init("measured on", "luma, border of \(border) left out"),
        .init("gains are against", methods[reference].name),
      ],
      tables: [imageTable, methodTable], notes: exactNotes + tileNotes)
    guard let subject, !regions.isEmpty else { return document }
    let title =
      "Regions where \(methods[subject].name) does worst against \(methods[reference].name)"
    document.tables.append(regionTable(title))
    let rows = regions.compactMap(imageRow)
    if !rows.isEmpty {
      document.figures = [
        .images(ReportImages(title: "The same regions as images", rows: rows))
      ]
    }
    return document
  }

  private var source: String {
    switch lowResolution {
    case .files: "from files"
    case .bicubic: "made by bicubic downscaling"
    case .degraded: "degraded ones from \(degradedFolder ?? "files")"
    }
  }

  /// Explains which images are excluded from the mean PSNR.
  private var exactNotes: [String] {
    images.compactMap { image in
      let names = methods.filter { $0.exactImages.contains(image.name) }.map(\.name)
      return names.isEmpty
        ? nil
        : "'\(image.name)' is reproduced exactly by \(names.joined(separator: ", ")): its PSNR "
          + "is infinite there and not part of the mean"
    }
  }

  /// Says which images were upscaled in tiles.
  private var tileNotes: [String] {
    images.flatMap { image in
      zip(methods, image.scores).compactMap { method, score in
        score.tileCount.map {
          "'\(image.name)' is upscaled by \(method.name) in \(counted($0, "tile")), for want of memory; "
            + "near their edges the result may differ a little"
        }
      }
    }
  }

  private var imageTable: ReportTable {
    var columns: [ReportTable.Column] = [
      .init(key: "image", heading: "image", kind: .text),
      .init(key: "width", heading: "width", kind: .integer, isOptional: true),
      .init(key: "height", heading: "height", kind: .integer, isOptional: true),
    ]
    for method in methods {
      columns += [
        .init(key: "\(method.name) psnr", heading: "\(method.name) dB", kind: .real),
        .init(key: "\(method.name) ssim", heading: "SSIM", kind: .real),
        .init(
          key: "\(method.name) seconds", heading: "\(method.name) s", kind: .real,
          isOptional: true),
      ]
    }
    return ReportTable(
      title: "PSNR and SSIM of each image", columns: columns,
      rows: images.map { image in
        [.text(image.name), .integer(image.width), .integer(image.height)]
          + image.scores.flatMap { score -> [ReportCell] in
            [.real(score.psnr), .real(score.ssim), .real(score.seconds)]
          }
      })
  }

  private var methodTable: ReportTable {
    ReportTable(
      title: "Means",
      columns: [
        .init(key: "method", heading: "model", kind: .text),
        .init(key: "psnr", heading: "PSNR dB", kind: .real),
        .init(key: "ssim", heading: "SSIM", kind: .real),
        .init(key: "gainPSNR", heading: "gain dB", kind: .real),
        .init(key: "gainSSIM", heading: "gain SSIM", kind: .real),
        .init(key: "exactImages", heading: "exact", kind: .integer),
        .init(key: "seconds", heading: "s per image", kind: .real),
        .init(key: "fileByteCount", heading: "file", kind: .bytes),
        .init(key: "weightByteCount", heading: "weights", kind: .bytes),
      ],
      rows: methods.map { method in
        [
          .text(method.name), ReportCell(method.meanPSNR), .real(method.meanSSIM),
          ReportCell(method.gainPSNR), ReportCell(method.gainSSIM),
          .integer(method.exactImages.count), .real(method.meanSeconds),
          ReportCell(method.fileByteCount), ReportCell(method.weightByteCount),
        ]
      })
  }

  private func regionTable(_ title: String) -> ReportTable {
    ReportTable(
      title: title,
      columns: [
        .init(key: "image", heading: "image", kind: .text),
        .init(key: "x", heading: "x", kind: .integer),
        .init(key: "y", heading: "y", kind: .integer),
        .init(key: "side", heading: "side", kind: .integer),
      ]
        + methods.map {
          .init(key: "\($0.name) psnr", heading: "\($0.name) dB", kind: .real)
        },
      rows: regions.map { region in
        [
          .text(region.image), .integer(region.x), .integer(region.y), .integer(region.width),
        ] + region.psnr.map(ReportCell.real)
      })
  }

  private func imageRow(_ region: Region) -> ReportImages.Row? {
    guard let crops = region.crops else { return nil }
    func panel(_ label: String, _ note: String, _ image: RasterImage) -> ReportImages.Image? {
      // Encoding a crop of an 8-bit RGB image fails only if memory is exhausted.
      guard let png = try? image.encoded(as: .png).array else { return nil }
      return .init(
        label: label, note: note, png: png, width: 2 * region.width, height: 2 * region.height)
    }
    let results = zip(methods, zip(region.psnr, crops.results)).map { method, result in
      panel(method.name, String(printf: "%.2f dB", result.0), result.1)
    }
    let ends = [
      panel("high resolution", "\(region.width)×\(region.height)", crops.highResolution),
      panel("low resolution", crops.lowResolution.sizeText, crops.lowResolution),
    ]
    return .init(
      caption: "\(region.image), from \(region.x), \(region.y)",
      images: (ends + results).compactMap(\.self))
  }
}
