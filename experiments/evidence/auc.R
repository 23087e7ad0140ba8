# AUC of each class against the others, with DeLong's 95 % interval, by pROC (Robin et al. 2011); of patients, not nodes.
#
#   fusionln export RUN --csv predictions.csv
#   Rscript experiments/evidence/auc.R predictions.csv
suppressMessages(library(pROC))

file <- commandArgs(trailingOnly = TRUE)[1]
table <- read.csv(file, check.names = FALSE, colClasses = c(patient_id = "character"))
if ("node_id" %in% names(table)) stop(file, ": rows are nodes; DeLong's limits would take those of a patient for independent.")
classes <- sub("^prob_", "", grep("^prob_", names(table), value = TRUE))
areas <- sapply(classes, function(class) {
  curve <- roc(table$class == class, table[[paste0("prob_", class)]], levels = c(FALSE, TRUE), direction = "<")
  limits <- ci.auc(curve, method = "delong")
  c(auc = limits[2], low = limits[1], high = limits[3])
})
print(t(cbind(areas, mean = c(mean(areas["auc", ]), NA, NA))), digits = 15)
