-- Which series to look at this week, why, and what is at stake: the rules of m5_assets/dashboard/exception_rules.py, which
-- gives each threshold's reason, over the view that QuickSight may read. A test compares the two.
WITH outlook AS (
    SELECT *, 91 - zero_days AS before, week + 6 AS origin, first_sale > week + 6 - 56 AS is_new,
        forecast_28::float8 AS forecast, gbm_28::float8 AS gbm, lstm_28::float8 AS lstm, usual_28::float8 AS usual,
        sell_price::float8 AS price, next_price::float8 AS next, abs(gbm_28::float8 - lstm_28::float8) AS gap
    FROM m5.bi_outlook
),
stopped AS (
    SELECT *, least(nonzero_share_91::float8 * 91 / before, 1) AS share, usual * 91 / before AS usual_before
    FROM outlook
    WHERE before > 0 AND zero_days >= 7 AND price IS NOT NULL
),
found AS (
    SELECT 'Likely out of stock' AS kind, item_id, dept_id, cat_id, store_id, state_id, week, usual_before AS units,
        usual_before * price AS money,
        CASE WHEN zero_days >= 28
            THEN format('Dropped to zero: no sales for %s days; sold on %s%% of the days before, usually %s units in '
                || '28 days. Delisted or out of stock?', zero_days, round(100 * share),
                to_char(usual_before, 'FM999,999,990'))
            ELSE format('No sales for %s days; sold on %s%% of the days before, usually %s units in 28 days.',
                zero_days, round(100 * share), to_char(usual_before, 'FM999,999,990'))
        END AS reason, NULL::float8 AS change
    FROM stopped
    WHERE power(1 - share, zero_days) <= 1e-4 AND usual_before >= 8

    UNION ALL
    SELECT 'Sharp rise', item_id, dept_id, cat_id, store_id, state_id, week, forecast - usual,
        (forecast - usual) * price,
        CASE WHEN usual = 0
            THEN format('Forecast is %s units in 28 days, although nothing was sold in the last 91.',
                to_char(forecast, 'FM999,999,990'))
            ELSE format('Forecast is %s units in 28 days, usual is %s ({change}); %s sold in the last 28 days.',
                to_char(forecast, 'FM999,999,990'), to_char(usual, 'FM999,999,990'), to_char(last_28, 'FM999,999,990'))
        END,
        forecast / nullif(usual, 0) - 1
    FROM outlook
    WHERE forecast >= 1.5 * usual AND forecast - usual >= 3 * sqrt(usual) AND forecast - usual >= 28
        AND is_new IS NOT TRUE

    UNION ALL
    SELECT 'Price change ahead', item_id, dept_id, cat_id, store_id, state_id, week, forecast,
        forecast * abs(next - price),
        format('Price %s from $%s to $%s ({change}) on %s; forecast is %s units in 28 days.',
            CASE WHEN next > price THEN 'rises' ELSE 'falls' END, to_char(price, 'FM9,990.00'),
            to_char(next, 'FM9,990.00'), to_char(next_price_date, 'FMDD Mon YYYY'), to_char(forecast, 'FM999,999,990')),
        next / price - 1
    FROM outlook
    WHERE abs(next / price - 1) >= 0.05 AND forecast >= 14

    UNION ALL
    SELECT 'New item', item_id, dept_id, cat_id, store_id, state_id, week, forecast, forecast * price,
        format('First sold on %s, %s days ago; %s units in the last 28 days, forecast %s.',
            to_char(first_sale, 'FMDD Mon YYYY'), origin - first_sale + 1, to_char(last_28, 'FM999,999,990'),
            to_char(forecast, 'FM999,999,990')),
        NULL
    FROM outlook
    WHERE is_new

    UNION ALL
    SELECT 'Models disagree', item_id, dept_id, cat_id, store_id, state_id, week, gap, gap * price,
        format('GBM expects %s units in 28 days, LSTM %s; the ensemble says %s, usual is %s.',
            to_char(gbm, 'FM999,999,990'), to_char(lstm, 'FM999,999,990'), to_char(forecast, 'FM999,999,990'),
            to_char(usual, 'FM999,999,990')),
        NULL
    FROM outlook
    WHERE gap >= 0.5 * forecast AND gap >= 3 * sqrt(greatest(forecast, 0)) AND gap >= 14
)
SELECT kind, item_id, dept_id, cat_id, store_id, state_id,
    replace(reason, '{change}', coalesce(
        CASE WHEN change >= 10 THEN '×' || to_char(change + 1, 'FM999,999,990')
            ELSE replace(to_char(100 * change, 'FMSG999990'), '-', '−') || '%' END, '')) AS reason,
    units, money, week
FROM found
